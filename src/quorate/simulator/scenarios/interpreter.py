"""Scenarios: stories about a group of replicas, as text that runs.

A file is a sequence of paragraphs.  Lines with ``#`` are prose.  Any other paragraph is commands,
a line ``----``, and what they print; ``run`` returns the file with everything printed anew.

Before the first action:
  cluster N [single]     replicas 1 to N, which know nothing; single: one entry in a message
  log R...: 1x3 2        these replicas' logs: the terms of the entries (1 1 1 2), all on disk
  term R...: T [vote V]  these replicas' terms and votes; otherwise the term of the last entry
  names NAME...          what a timeline calls the replicas
  voters R...            these founded the group; the others know of it, and do not belong to it
Actions (``A->B`` is all that is under way from A to B, oldest first; ``*`` stands for anybody):
  campaign R             R's election timeout elapses
  tick R                 R's next deadline comes: a leader's heartbeat, a candidate's asking again
  propose R X...         a client gives R these commands
  read R CLIENT          this client reads at R
  change R: V... [learning L...]  R is asked that these be the voters, and these the learners
  deliver A->B...        the messages arrive
  drop A->B...           they are lost
  stabilize [R...]       all that is under way (between these) arrives, round after round
  repair L F             a heartbeat of leader L to F, and all that follows from it, between the two
  wait T [R...]          T ms pass: deadlines (of these) come, what is under way (between these)
                         arrives
  cut R, heal R          what R sends, or is sent, from now on is lost; or no longer
  part R... / R...       what passes between these sides is lost, until ``join``
  deafen R               only what R is sent is lost, until healed
  crash R, restart R     R forgets what is not on its disk; messages to a crashed replica are lost
  slow R, sync R         R's disk takes its time; everything written so far is synced
  status                 all replicas
``quietly`` before an action keeps what it does from being printed.

Printed: each message when it arrives (``x``: lost), and below it the receiver if it has changed:
role, term, vote, its log as terms, ``|`` after the last committed entry, and in brackets the
members that it obeys if these are not the founders.

A story can be watched: each command, and each message that arrives, is a moment of its own.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.configuration import Configuration, founding
from quorate.raft.core.entries import NOBODY, Entry, EntryKind, HardState
from quorate.raft.core.events import Change, Effects, Event, Persisted, Propose, Read, Receive, Tick
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.messages import Envelope, RaftMessages
from quorate.simulator.scenarios.hosts import GROUP, Host, Letter
from quorate.simulator.timeline.events import Kind
from quorate.simulator.timeline.words import content, members, name_of_message, term_of

RULE = "----"
MAX_ROUNDS = 50
FAULTS = {
    "cut": ("is cut off", "cut"),
    "deafen": ("hears nobody", "cut"),
    "crash": ("is down", "crash"),
    "slow": ("has a slow disk", "slow"),
}
"""What each is called, and where it is done (timeline/sources.py)."""


class Watcher(Protocol):
    """Who is told of a story while it runs: ``simulator/timeline/recorder.py``."""

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None: ...

    def sent(self, address: Address, notice: RaftMessages) -> None: ...

    def started(self, group: GroupId, replica: Replica, text: str) -> None: ...

    def begin(self, kind: Kind, node: str, text: str, source: str = "", **facts: Any) -> int: ...

    def tell(
        self, kind: Kind, node: str = "", text: str = "", source: str = "", **facts: Any
    ) -> None: ...


class Scenario:
    """The replicas of one file and what is under way between them."""

    def __init__(self) -> None:
        self.watcher: Watcher | None = None
        self.moment = 0
        """Of the story, from 0."""
        self._names: list[str] = []
        self._reset()
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "campaign": self._campaign,
            "tick": self._tick,
            "propose": self._propose,
            "read": self._read,
            "change": self._change,
            "deliver": lambda words: self._deliver(self._chosen(words)),
            "drop": self._drop,
            "stabilize": self._stabilize,
            "repair": self._repair,
            "wait": self._wait,
            "cut": lambda words: self._strike("cut", self._cut, words),
            "part": self._part,
            "join": self._join,
            "deafen": lambda words: self._strike("deafen", self._deaf, words),
            "heal": self._heal,
            "crash": lambda words: self._strike("crash", self._down, words),
            "restart": self._restart,
            "slow": lambda words: self._strike("slow", self._slow, words),
            "sync": self._sync,
            "status": self._status,
        }

    def _reset(self) -> None:
        self.hosts: dict[ReplicaId, Host] = {}
        self._logs: dict[ReplicaId, list[int]] = {}
        self._states: dict[ReplicaId, HardState] = {}
        self._size, self._limits = 0, Limits()
        self._founders: list[ReplicaId] = []
        self._now_ms = 0.0
        self._under_way: deque[Letter] = deque()
        self._cut: dict[ReplicaId, bool] = {}
        self._deaf: dict[ReplicaId, bool] = {}
        self._down: dict[ReplicaId, bool] = {}
        self._slow: dict[ReplicaId, bool] = {}
        self._sides: tuple[list[ReplicaId], list[ReplicaId]] = [], []
        self._faults: dict[tuple[str, ReplicaId], int] = {}
        self._readers: list[tuple[str, int]] = []
        """Who read, and the arrow of it; numbered from 1."""
        self._out: list[str] = []

    def name(self, replica: ReplicaId) -> str:
        """What a timeline calls it."""
        return self._names[replica - 1] if replica <= len(self._names) else f"n{replica}"

    def prose(self, lines: list[str]) -> None:
        """A chapter begins."""
        if self.watcher is not None:
            self.moment += 1
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
            self.watcher.tell("note", text=text)

    def execute(self, line: str) -> list[str]:
        """Run one command; what it prints."""
        self._out = []
        name, *words = line.split()
        if name == "quietly":
            self.execute(line.removeprefix("quietly "))
            return []
        if name == "cluster":
            for kind, replica in list(self._faults):
                self._over(replica, kind)
            self._reset()
            self._size = int(words[0])
            if words[1:] == ["single"]:
                self._limits = Limits(message_bytes=1)
        elif name in ("log", "term"):
            self._set_up(name, line)
        elif name == "voters":
            self._founders = self._ids(words)
        elif name == "names":
            self._names = words
        elif name in self._commands:
            if not self.hosts:
                self._start()
            self.moment += name != "status"
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
        everybody = [ReplicaId(number) for number in range(1, self._size + 1)]
        configuration = founding({m: _address(m) for m in self._founders or everybody})
        for me in everybody:
            terms = self._logs.get(me, [])
            self.hosts[me] = Host(
                me,
                configuration,
                lambda: 0.5,
                timing=Timing(),
                limits=self._limits,
                state=self._states.get(me, HardState(max(terms, default=0))),
                log=[_entry(index, term) for index, term in enumerate(terms, 1)],
            )
            if self.watcher is not None:
                self.watcher.started(GROUP, self.hosts[me].replica, "is there")

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

    def _read(self, words: list[str]) -> None:
        [me] = self._ids(words[:1])
        arrow = 0
        if self.watcher is not None:
            arrow = self.watcher.begin("invoked", words[1], f"reads at {self.name(me)}", "query")
        self._readers.append((words[1], arrow))
        self._step(me, Read(len(self._readers)))

    def _change(self, words: list[str]) -> None:
        left, _, right = " ".join(words).partition(":")
        [me] = self._ids([left])
        voters, _, learners = right.partition("learning")
        belong = self._ids(voters.split()), self._ids(learners.split())
        addresses = {member: _address(member) for member in (*belong[0], *belong[1])}
        self._step(me, Change(Configuration(tuple(belong[0]), addresses, tuple(belong[1]))))

    def _answered(self, read: int, index: int) -> None:
        client, arrow = self._readers[read - 1]
        text = f"may be answered from entry {index} on"
        self._out.append(f"the read of {client} {text}")
        if self.watcher is not None:
            self.watcher.tell("returned", client, text, "answered", arrow=arrow)

    def _chosen(self, words: list[str]) -> list[Letter]:
        """What is under way on these links, taken out."""
        chosen = [letter for letter in self._under_way if any(_on(letter, w) for w in words)]
        self._under_way = deque(letter for letter in self._under_way if letter not in chosen)
        return chosen

    def _deliver(self, letters: list[Letter]) -> None:
        for letter in letters:
            self.moment += 1
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

    def _strike(self, kind: str, struck: dict[ReplicaId, bool], words: list[str]) -> None:
        what, source = FAULTS[kind]
        for me in self._ids(words):
            struck[me] = True
            if self.watcher is None:
                continue
            name = self.name(me)
            text = f"{name} {what}"
            arrow = self.watcher.begin("fault", "", text, source, lanes=(name,))
            self._faults[kind, me] = arrow
            if kind == "crash":
                self.watcher.tell("died", name, "crashed", "crash", group=GROUP)

    def _part(self, words: list[str]) -> None:
        left, _, right = " ".join(words).partition(" / ")
        self._sides = self._ids(left.split()), self._ids(right.split())
        if self.watcher is not None:
            here, there = (" ".join(map(self.name, side)) for side in self._sides)
            text = f"{here} are parted from {there}"
            arrow = self.watcher.begin("fault", "", text, "cut", lanes=())
            self._faults["part", NOBODY] = arrow

    def _join(self, words: list[str]) -> None:
        self._sides = [], []
        self._over(NOBODY, "part")

    def _parted(self, letter: Letter) -> bool:
        one, other = self._sides
        ends = letter[:2]
        return any(a in one and b in other for a, b in (ends, ends[::-1]))

    def _over(self, me: ReplicaId, *kinds: str) -> None:
        for kind in kinds:
            arrow = self._faults.pop((kind, me), None)
            if self.watcher is not None and arrow is not None:
                self.watcher.tell("healed", arrow=arrow)

    def _heal(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._cut[me] = self._deaf[me] = False
            self._over(me, "cut", "deafen")

    def _restart(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._down[me] = self._slow[me] = False
            self.hosts[me].crash(0, self._now_ms)
            self._over(me, "crash", "slow")
            if self.watcher is not None:
                self.watcher.started(GROUP, self.hosts[me].replica, "is back")
            self._out.append(self._row(me))

    def _sync(self, words: list[str]) -> None:
        for me in self._ids(words):
            self._slow[me] = False
            self._over(me, "slow")
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
            sent += self._take(host, event)
        while host.unsynced and not self._slow.get(me):
            letters, number = host.sync(len(host.unsynced), self._now_ms)
            sent += letters + self._take(host, Persisted(number))
        if (after := self._row(me)) != before:
            self._out.append(after)
        self._post(sent)

    def _take(self, host: Host, event: Event) -> list[Letter]:
        effects, letters = host.take(event, self._now_ms)
        if self.watcher is not None:
            self.watcher.stepped(GROUP, host.replica, event, effects)
        for read, index in effects.reads:
            self._answered(read, index)
        if effects.refused is not None:
            self._out.append(f"refused: {effects.refused}")
        return letters

    def _post(self, letters: list[Letter]) -> None:
        for letter in letters:
            if self.watcher is not None:
                envelope = Envelope(GROUP, *letter)
                self.watcher.sent(Address(""), RaftMessages([envelope]))
            cut = self._cut.get(letter.sender) or self._cut.get(letter.receiver)
            if cut or self._deaf.get(letter.receiver) or self._parted(letter):
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
        if len(replica.configurations) > 1:
            row += f" [{members(replica.configuration, str).replace('→', '->')}]"
        return row.rstrip()


def _address(me: ReplicaId) -> Address:
    return Address(f"m{me}:raft")


def _entry(index: int, term: int) -> Entry:
    return Entry(index, term, int(EntryKind.COMMAND), f"{index} of term {term}".encode())


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
    name = name_of_message(message)
    arrow = "-x" if lost else "->"
    of_term = f"term {term_of(message)}" if term_of(message) else ""
    head = f"{letter.sender}{arrow}{letter.receiver} {name:<15} {of_term:<7}"
    return f"{head}  {content(message)}".rstrip()


def run(text: str, scenario: Scenario | None = None) -> str:
    """The file, with what its commands print now."""
    scenario = scenario or Scenario()
    paragraphs = []
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.splitlines()
        commands = lines[: lines.index(RULE)] if RULE in lines else lines
        if prose := [line for line in commands if line.startswith("#")]:
            scenario.prose(prose)
        if len(prose) == len(commands):
            paragraphs.append(paragraph)
            continue
        printed = []
        for command in commands:
            if not command.startswith("#"):
                printed += scenario.execute(command)
        paragraphs.append("\n".join([*commands, RULE, *printed]))
    return "\n\n".join(paragraphs) + "\n"
