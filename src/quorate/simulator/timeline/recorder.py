"""A recorder: an ``Observer`` that turns what replicas do into the events of a timeline.

Theory of operation.  A step is compared with what was last seen of its replica: each change of
role, term, vote, log or commit index is an event of its own, with the state after it.  A message is
paired with its arrival by what it says, for that is all that both ends know: two that say the same
from one replica to another cannot be told apart, and the later is taken to have arrived first (the
earlier was probably lost, or nobody would have repeated it).

It is bounded: of a run that is too long the end is kept, and the faults of all of it.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from quorate.base.codec import encode
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.entries import Entry, EntryKind
from quorate.raft.core.events import Change, Effects, Event, Persisted, Propose, Receive, Tick
from quorate.raft.core.messages import AppendReply, Message, VoteReply
from quorate.raft.core.replica import Replica, Role
from quorate.raft.messages import RaftMessages
from quorate.raft.observer import Observer
from quorate.simulator.timeline import events
from quorate.simulator.timeline.events import TAIL, Kind, State
from quorate.simulator.timeline.words import (
    configuration_name,
    content,
    counted,
    cut,
    is_minor,
    members,
    name_of_message,
    term_of,
)

MAX_EVENTS = 60_000
ALWAYS_KEPT: tuple[Kind, ...] = ("fault", "healed", "note", "broken", "started", "died")


class Both:
    """Two observers of the same replicas; the first hears of each thing first."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._first, self._second = first, second

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None:
        self._first.stepped(group, replica, event, effects)
        self._second.stepped(group, replica, event, effects)

    def applied(self, group: GroupId, replica: ReplicaId, entry: Entry, digest: int) -> None:
        self._first.applied(group, replica, entry, digest)
        self._second.applied(group, replica, entry, digest)

    def restored(
        self, group: GroupId, replica: ReplicaId, index: int, term: int, digest: int
    ) -> None:
        self._first.restored(group, replica, index, term, digest)
        self._second.restored(group, replica, index, term, digest)

    def sent(self, address: Address, notice: RaftMessages) -> None:
        self._first.sent(address, notice)
        self._second.sent(address, notice)


class Recorder:
    """``now_ms`` gives the time of all lanes, ``name_of`` the lane of a replica."""

    def __init__(self, now_ms: Callable[[], float], name_of: Callable[[ReplicaId], str]) -> None:
        self._now_ms = now_ms
        self._name_of = name_of
        self._count = 0
        self._kept: list[tuple[int, events.Event]] = []
        self._recent: deque[tuple[int, events.Event]] = deque()
        self._states_before: dict[tuple[str, int], tuple[int, events.Event]] = {}
        """The last of each replica that is no longer among the recent."""
        self.dropped_until_ms: float | None = None
        """Most of what happened before is not kept."""
        self._arrows = 0
        self._states: dict[ReplicaId, State] = {}
        self._under_way: defaultdict[bytes, list[int]] = defaultdict(list)
        self._last_arrow: dict[bytes, int] = {}
        self._minor_replies: set[bytes] = set()

    @property
    def recorded(self) -> list[events.Event]:
        """What was recorded, in order."""
        found = [*self._kept, *self._states_before.values(), *self._recent]
        return [event for _, event in sorted(found, key=lambda pair: pair[0])]

    # What any source of a run may tell.

    def new_arrow(self) -> int:
        """A number that pairs two events."""
        self._arrows += 1
        return self._arrows

    def add(self, event: events.Event) -> None:
        """One more, not earlier than the last."""
        self._count += 1
        if event.kind in ALWAYS_KEPT:
            self._kept.append((self._count, event))
            return
        self._recent.append((self._count, event))
        if len(self._recent) > MAX_EVENTS:
            number, old = self._recent.popleft()
            self.dropped_until_ms = old.time_ms
            if old.state is not None:
                self._states_before[old.node, old.group] = (number, old)

    def tell(
        self, kind: Kind, node: str = "", text: str = "", source: str = "", **facts: Any
    ) -> None:
        """It happens now; ``facts`` are other fields of an ``Event``."""
        self.add(
            events.Event(
                time_ms=float(self._now_ms()),
                kind=kind,
                node=node,
                text=text,
                source=source,
                **facts,
            )
        )

    def chapter(self, text: str) -> None:
        """What happens from here on, in prose."""
        self.tell("note", text=text)

    def begin(self, kind: Kind, node: str, text: str, source: str = "", **facts: Any) -> int:
        """Something that ends later: a fault, or what a client asks; gives the arrow to end it
        with."""
        arrow = self.new_arrow()
        self.tell(kind, node, text, source, arrow=arrow, **facts)
        return arrow

    def forget(self, node: str) -> None:
        """Its replicas are gone, and what comes next of them is another life."""
        self._states = {
            replica: state
            for replica, state in self._states.items()
            if self._name_of(replica) != node
        }

    def started(self, group: GroupId, replica: Replica, text: str) -> None:
        """It is there, in the state that its disk has kept."""
        self._states[replica.replica] = state = self._state(replica)
        self._tell(
            group, replica.replica, "started", text, "started", term=replica.term, state=state
        )

    # Observer.

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None:
        before = self._states.get(replica.replica)
        after = self._state(replica)
        me, new = replica.replica, None if before == after else after
        self._states[me] = after
        if isinstance(event, Receive):
            self._arrived(group, replica, event, effects, new)
        else:
            self._stepped(group, replica, event, effects, new)
        if new is not None:
            self._changes(group, replica, before or State(role="", term=0), after)
        if isinstance(event, Receive):
            self._joint_count(group, replica, event.message)
        for ready in effects.reads:
            text = f"read {ready.read} may be answered from entry {ready.read_index} on"
            self._tell(group, me, "answered", text, "answered", term=replica.term)

    def applied(self, group: GroupId, replica: ReplicaId, entry: Entry, digest: int) -> None:
        what = f"{len(entry.data)} bytes" if entry.kind == EntryKind.COMMAND else "Raft's own"
        text = f"applied entry {entry.index} of term {entry.term} ({what}); digest {digest:x}"
        self._tell(group, replica, "applied", text, "applied", term=entry.term, minor=True)

    def restored(
        self, group: GroupId, replica: ReplicaId, index: int, term: int, digest: int
    ) -> None:
        text = f"state restored from a snapshot up to entry {index} of term {term}"
        self._tell(group, replica, "restored", text, "restored", term=term)

    def sent(self, address: Address, notice: RaftMessages) -> None:
        for envelope in notice.envelopes:
            group, message = envelope.group, envelope.message
            key = _key(group, envelope.sender, envelope.receiver, message)
            arrow = self.new_arrow()
            self._under_way[key].append(arrow)
            self._last_arrow[key] = arrow
            name = name_of_message(message)
            self._tell(
                group,
                envelope.sender,
                "sent",
                cut(content(message)),
                f"sent {name}",
                peer=self._name_of(envelope.receiver),
                message=name,
                term=term_of(message),
                arrow=arrow,
                minor=is_minor(message) or key in self._minor_replies,
            )
            self._minor_replies.discard(key)

    # Parts.

    def _arrived(
        self,
        group: GroupId,
        replica: Replica,
        event: Receive,
        out: Effects,
        state: State | None,
    ) -> None:
        message, name = event.message, name_of_message(event.message)
        key = _key(group, event.sender, replica.replica, message)
        waiting = self._under_way.get(key)
        # Nothing under way: it was repeated on the way, or left before the recording began.
        arrow = waiting.pop() if waiting else self._last_arrow.get(key, 0)
        if waiting == []:
            del self._under_way[key]
        minor = is_minor(message)
        if minor:
            for receiver, reply in out.messages:
                if isinstance(reply, AppendReply) and reply.success:
                    self._minor_replies.add(_key(group, replica.replica, receiver, reply))
        refused = isinstance(message, AppendReply) and not message.success
        source = "refused" if refused else f"received {name}"
        self._tell(
            group,
            replica.replica,
            "delivered",
            cut(content(message)),
            source,
            message=name,
            peer=self._name_of(event.sender),
            term=term_of(message),
            arrow=arrow,
            minor=minor and state is None,
            state=state,
        )

    def _stepped(
        self, group: GroupId, replica: Replica, event: Event, effects: Effects, state: State | None
    ) -> None:
        if state is None and not effects.messages and not isinstance(event, Propose):
            return
        if isinstance(event, Propose):
            text = f"{len(event.commands)} proposed"
            text += "" if effects.accepted else ": refused, for it does not lead"
        elif isinstance(event, Change):
            text = f"to change to {members(event.target, self._name_of)}"
            text += f": refused, for {effects.refused}" if effects.refused else ""
        elif isinstance(event, Tick):
            text = "a deadline has come"
        else:
            text = cut(" ".join(map(str, event)))
        self._tell(
            group,
            replica.replica,
            "step",
            text,
            type(event).__name__,
            term=replica.term,
            state=state,
            minor=isinstance(event, Persisted) or state is None,
        )

    def _changes(self, group: GroupId, replica: Replica, before: State, after: State) -> None:
        me = replica.replica
        told = election_changes(self._name_of(me), before, after)
        if before.members and after.members != before.members:
            name = configuration_name(replica.configuration)
            text = f"obeys {name}: {after.members}" + ", a majority of each" * after.joint
            told.append(("members", text, name))
        if after.commit_index != before.commit_index:
            source = "leader's commit" if replica.role is Role.LEADER else "commit"
            settled = [
                known
                for index, known in replica.configurations
                if before.commit_index < index <= after.commit_index
            ]
            text = f"committed up to {after.commit_index}"
            text += "".join(f", {configuration_name(known)} with it" for known in settled)
            if replica.role is Role.LEADER and any(known.is_joint for known in settled):
                source = "joint commit"
            told.append(("commit", text, source))
        for kind, text, source in told:
            self._tell(group, me, kind, text, source, term=after.term)

    def _joint_count(self, group: GroupId, replica: Replica, message: Message) -> None:
        """What an answer has brought about while two majorities are needed."""
        configuration, me = replica.configuration, replica.replica
        if not configuration.is_joint:
            return
        if isinstance(message, VoteReply) and replica.votes:
            text = "votes, " + counted(configuration, lambda r: replica.votes.get(r, False))
        elif isinstance(message, AppendReply) and replica.unsettled > replica.commit_index:
            index, progress = replica.unsettled, replica.progress
            text = f"entry {index} is on disks, " + counted(
                configuration,
                lambda r: index <= (replica.durable_index if r == me else progress[r].match_index),
            )
        else:
            return
        self._tell(group, me, "step", text, "both majorities", term=replica.term)

    def _tell(
        self, group: GroupId, who: ReplicaId, kind: Kind, text: str, source: str, **facts: Any
    ) -> None:
        self.tell(kind, self._name_of(who), text, source, group=group, **facts)

    def _state(self, replica: Replica) -> State:
        log, configuration = replica.log, replica.configuration
        first = max(log.base.index + 1, log.last_index - TAIL + 1)
        return State(
            role=replica.role.name.lower().replace("_", "-"),
            term=replica.term,
            voted_for=self._name_of(replica.voted_for) if replica.voted_for else "",
            leader=self._name_of(replica.leader) if replica.leader else "",
            last_index=log.last_index,
            durable_index=replica.durable_index,
            commit_index=replica.commit_index,
            terms=tuple(entry.term for entry in log.slice(first, log.last_index)),
            members=members(configuration, self._name_of),
            joint=configuration.is_joint,
            changes=tuple(index for index, _ in replica.configurations[1:] if index >= first),
        )


def election_changes(me: str, before: State, after: State) -> list[tuple[Kind, str, str]]:
    """What of elections has become another for ``me``: kind, text and name of the source."""
    told: list[tuple[Kind, str, str]] = []
    if after.term != before.term:
        told.append(("term", f"term {after.term}", "term"))
    if after.voted_for and (after.term, after.voted_for) != (before.term, before.voted_for):
        own = after.voted_for == me
        text = f"votes for {'itself' if own else after.voted_for}"
        told.append(("vote", text, "own vote" if own else "vote"))
    if after.role != before.role:
        source = after.role.upper().replace("-", "_")
        told.append(("role", f"is {after.role} in term {after.term}", source))
    return told


def _key(group: GroupId, sender: ReplicaId, receiver: ReplicaId, message: Message) -> bytes:
    """Equal for what cannot be told apart."""
    return encode((group, sender, receiver, message))
