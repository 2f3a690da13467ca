"""Scenarios: stories about a group of replicas, as text that runs.

A file is a sequence of paragraphs.  Lines with ``#`` are prose.  Any other paragraph is commands,
a line ``----``, and what they print; ``run`` returns the file with everything printed anew.

Before the first action:
  cluster N [single]     replicas 1 to N, which know nothing; single: one entry in a message
  log R...: 1x3 2        these replicas' logs: the terms of the entries (1 1 1 2), all on disk
  term R...: T [vote V]  these replicas' terms and votes; otherwise the term of the last entry
Actions (``A->B`` is all that is under way from A to B, oldest first; ``*`` stands for anybody):
  campaign R             R's election timeout elapses
  tick R                 R's next deadline comes: a leader's heartbeat, a candidate's asking again
  propose R X...         a client gives R these commands
  deliver A->B...        the messages arrive
  drop A->B...           they are lost
  stabilize [R...]       all that is under way (between these) arrives, round after round
  repair L F             a heartbeat of leader L to F, and all that follows from it, between the two
  wait T [R...]          T ms pass: deadlines (of these) come, what is under way (between these)
                         arrives
  cut R, heal R          what R sends, or is sent, from now on is lost; or no longer
  deafen R               only what R is sent is lost, until healed
  crash R, restart R     R forgets what is not on its disk; messages to a crashed replica are lost
  slow R, sync R         R's disk takes its time; everything written so far is synced
  status                 all replicas
``quietly`` before an action keeps what it does from being printed.

Printed: each message when it arrives (``x``: lost), and below it the receiver if it has changed:
role, term, vote, and its log as terms, ``|`` after the last committed entry.
"""

from collections import deque
from collections.abc import Callable

from raft_hosts import Host, Letter
from raft_replicas import entry, group_of

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import NOBODY, EntryKind, HardState
from quorate.raft.core.events import Event, Persisted, Propose, Receive, Tick
from quorate.raft.core.messages import AppendReply, AppendRequest, Message, VoteReply, VoteRequest
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits, Timing

RULE = "----"
MAX_ROUNDS = 50


class Scenario:
    """The replicas of one file and what is under way between them."""

    def __init__(self) -> None:
        self._reset()
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "campaign": self._campaign,
            "tick": self._tick,
            "propose": self._propose,
            "deliver": lambda words: self._deliver(self._chosen(words)),
            "drop": self._drop,
            "stabilize": self._stabilize,
            "repair": self._repair,
            "wait": self._wait,
            "cut": lambda words: self._cut.update(dict.fromkeys(self._ids(words), True)),
            "deafen": lambda words: self._deaf.update(dict.fromkeys(self._ids(words), True)),
            "heal": self._heal,
            "crash": lambda words: self._down.update(dict.fromkeys(self._ids(words), True)),
            "restart": self._restart,
            "slow": lambda words: self._slow.update(dict.fromkeys(self._ids(words), True)),
            "sync": self._sync,
            "status": self._status,
        }

    def _reset(self) -> None:
        self.hosts: dict[ReplicaId, Host] = {}
        self._logs: dict[ReplicaId, list[int]] = {}
        self._states: dict[ReplicaId, HardState] = {}
        self._size, self._limits = 0, Limits()
        self._now_ms = 0.0
        self._under_way: deque[Letter] = deque()
        self._cut: dict[ReplicaId, bool] = {}
        self._deaf: dict[ReplicaId, bool] = {}
        self._down: dict[ReplicaId, bool] = {}
        self._slow: dict[ReplicaId, bool] = {}
        self._out: list[str] = []

    def execute(self, line: str) -> list[str]:
        """Run one command; what it prints."""
        self._out = []
        name, *words = line.split()
        if name == "quietly":
            self.execute(line.removeprefix("quietly "))
            return []
        if name == "cluster":
            self._reset()
            self._size = int(words[0])
            if words[1:] == ["single"]:
                self._limits = Limits(message_bytes=1)
        elif name in ("log", "term"):
            self._set_up(name, line)
        elif name in self._commands:
            if not self.hosts:
                self._start()
            self._commands[name](words)
        else:
            raise ValueError(f"no such command: {line}")
        return self._out

    # Before the first action.

    def _set_up(self, name: str, line: str) -> None:
        if self.hosts:
            raise ValueError(f"too late for: {line}")
        left, _, right = line.partition(":")
        values = right.split()
        for replica in self._ids(left.split()[1:]):
            if name == "log":
                self._logs[replica] = _terms(values)
            else:
                vote = ReplicaId(int(values[2])) if len(values) > 1 else NOBODY
                self._states[replica] = HardState(int(values[0]), vote)

    def _start(self) -> None:
        configuration = group_of(self._size)
        for me in configuration.voters:
            terms = self._logs.get(me, [])
            self.hosts[me] = Host(
                me,
                configuration,
                lambda: 0.5,
                timing=Timing(),
                limits=self._limits,
                state=self._states.get(me, HardState(max(terms, default=0))),
                log=[entry(index, term) for index, term in enumerate(terms, 1)],
            )

    @staticmethod
    def _ids(words: list[str]) -> list[ReplicaId]:
        return [ReplicaId(int(word)) for word in words]

    # Actions.

    def _campaign(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._now_ms = max(self._now_ms, self.hosts[me].replica.election_deadline_ms)
            self._step(me, Tick())

    def _tick(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._now_ms = max(self._now_ms, self.hosts[me].replica.next_deadline_ms)
            self._step(me, Tick())

    def _propose(self, words: list[str]) -> None:
        [me] = self._ids(words[:1])
        if self.hosts[me].replica.role is not Role.LEADER:
            self._out.append(f"{me} does not lead: refused")
        self._step(me, Propose([word.encode() for word in words[1:]]))

    def _chosen(self, words: list[str]) -> list[Letter]:
        """What is under way on these links, taken out."""
        chosen = [letter for letter in self._under_way if any(_on(letter, w) for w in words)]
        self._under_way = deque(letter for letter in self._under_way if letter not in chosen)
        return chosen

    def _deliver(self, letters: list[Letter]) -> None:
        for letter in letters:
            if self._down.get(letter.receiver):
                self._out.append(_line(letter, lost=True))
            else:
                self._out.append(_line(letter))
                self._step(letter.receiver, Receive(letter.sender, letter.message))

    def _drop(self, words: list[str]) -> None:
        self._out += [_line(letter, lost=True) for letter in self._chosen(words)]

    def _stabilize(self, words: list[str]) -> None:
        among = self._ids(words) or list(self.hosts)
        links = [f"{a}->{b}" for a in among for b in among if a != b]
        for _ in range(MAX_ROUNDS):
            letters = self._chosen(links)
            if not letters:
                return
            self._deliver(letters)
        raise ValueError("it does not become stable")

    def _repair(self, words: list[str]) -> None:
        leader, follower = self._ids(words)
        there, back = f"{leader}->{follower}", f"{follower}->{leader}"
        self._chosen([there, back])
        others = list(self._under_way)
        self._tick([str(leader)])
        self._under_way = deque(others + self._chosen([there]))
        trips = 0
        while letters := self._chosen([there]):
            trips += 1
            self._deliver(letters)
            self._deliver(self._chosen([back]))
        same = self.hosts[leader].log == self.hosts[follower].log
        verdict = "have the same log" if same else "differ"
        self._out.append(f"{leader} and {follower} {verdict}; round trips: {trips}")

    def _wait(self, words: list[str]) -> None:
        end_ms = self._now_ms + float(words[0])
        among = self._ids(words[1:]) or list(self.hosts)
        while True:
            due_ms, me = min((self.hosts[r].replica.next_deadline_ms, r) for r in among)
            if due_ms > end_ms:
                break
            self._tick([str(me)])
            self._stabilize([str(r) for r in among])
        self._now_ms = end_ms

    def _heal(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._cut[me] = self._deaf[me] = False

    def _restart(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._down[me] = self._slow[me] = False
            self.hosts[me].crash(0, self._now_ms)
            self._out.append(self._row(me))

    def _sync(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._slow[me] = False
            self._step(me, None)

    def _status(self, words: list[str]) -> None:
        longest = max(host.replica.log.last_index for host in self.hosts.values())
        if longest:
            ruler = "".join(f"{index:>2} " for index in range(1, longest + 1))
            self._out.append(f"{'':<39}{ruler}".rstrip())
        self._out += [self._row(me) for me in self.hosts]

    # A step, and all that follows from it on the same machine.

    def _step(self, me: ReplicaId, event: Event | None) -> None:
        host = self.hosts[me]
        before = self._row(me)
        sent: list[Letter] = []
        if event is not None:
            sent += host.take(event, self._now_ms)[1]
        while host.unsynced and not self._slow.get(me):
            letters, number = host.sync(len(host.unsynced), self._now_ms)
            sent += letters + host.take(Persisted(number), self._now_ms)[1]
        if (after := self._row(me)) != before:
            self._out.append(after)
        self._post(sent)

    def _post(self, letters: list[Letter]) -> None:
        for letter in letters:
            cut = self._cut.get(letter.sender) or self._cut.get(letter.receiver)
            if cut or self._deaf.get(letter.receiver):
                self._out.append(_line(letter, lost=True))
            else:
                self._under_way.append(letter)

    def _row(self, me: ReplicaId) -> str:
        replica = self.hosts[me].replica
        role = "down" if self._down.get(me) else replica.role.name.lower().replace("_", "-")
        vote = replica.voted_for or "-"
        row = f"{me:>8}  {role:<13} term {replica.term:<2} vote {vote} "
        if replica.log.last_index:
            row += f"{'|' if not replica.commit_index else ' '}{_cells(replica)}"
        if replica.durable_index < replica.log.last_index:
            row += f"(on disk up to {replica.durable_index})"
        return row.rstrip()


def _terms(words: list[str]) -> list[int]:
    terms = []
    for word in words:
        term, _, times = word.partition("x")
        terms += [int(term)] * int(times or 1)
    return terms


def _on(letter: Letter, link: str) -> bool:
    sender, _, receiver = link.partition("->")
    return sender in ("*", str(letter.sender)) and receiver in ("*", str(letter.receiver))


def _cells(replica: Replica) -> str:
    log = replica.log
    return "".join(
        f"{log.term(index):>2}{'|' if index == replica.commit_index else ' '}"
        for index in range(1, log.last_index + 1)
    )


def _line(letter: Letter, *, lost: bool = False) -> str:
    message = letter.message
    name = type(message).__name__
    if isinstance(message, VoteRequest | VoteReply) and message.pre_vote:
        name = f"Pre{name}"
    arrow = "-x" if lost else "->"
    head = f"{letter.sender}{arrow}{letter.receiver} {name:<15} term {message.term:<2}"
    return f"{head}  {_content(message)}".rstrip()


def _content(message: Message) -> str:
    match message:
        case VoteRequest(_, index, term):
            return f"last entry {index}:{term}"
        case VoteReply(_, granted):
            return "granted" if granted else "refused"
        case AppendRequest(_, index, term, commit_index, entries):
            new = " ".join(
                f"{e.index}:{e.term}" + (" no-op" if e.kind == EntryKind.NOOP else "")
                for e in entries
            )
            return f"after {index}:{term}  entries {new or 'none'}  commit {commit_index}"
        case AppendReply(_, True, match_index):
            return f"accepted up to {match_index}"
        case AppendReply(_, _, _, index, conflict_term, conflict_index):
            if not conflict_index:
                return "refused"
            has = f"term {conflict_term} since {conflict_index}"
            ends = f"log ends at {conflict_index - 1}"
            return f"refused after {index}: {has if conflict_term else ends}"


def run(text: str) -> str:
    """The file, with what its commands print now."""
    scenario = Scenario()
    paragraphs = []
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.splitlines()
        commands = lines[: lines.index(RULE)] if RULE in lines else lines
        if all(line.startswith("#") for line in commands):
            paragraphs.append(paragraph)
            continue
        printed = []
        for command in commands:
            if not command.startswith("#"):
                printed += scenario.execute(command)
        paragraphs.append("\n".join([*commands, RULE, *printed]))
    return "\n\n".join(paragraphs) + "\n"
