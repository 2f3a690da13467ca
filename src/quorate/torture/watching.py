"""Inside a test node: what its replica goes through, as events of a timeline, on standard output.

Rules:
* Elections are told whole: roles, terms, votes, leaders, and each message of an election, which
  becomes an arrow when the other node tells of it, too.
* Replication is sampled: how far log and commitment are, at most every ``SAMPLE_MS``.  Every entry
  would be too many, here and for who reads.
* Times are of the machine's monotonic clock: one clock for all nodes, which no fault touches.
* A line begins with ``MARK``, so that who reads the node's output tells it from its log.
"""

import os
from collections.abc import Callable

import msgspec

from quorate.base.ids import Address, GroupId, ReplicaId, node_of
from quorate.raft.core.entries import Entry
from quorate.raft.core.events import Effects, Event, Receive
from quorate.raft.core.messages import Message, TimeoutNow, VoteReply, VoteRequest
from quorate.raft.core.replica import Replica
from quorate.raft.messages import RaftMessages
from quorate.simulator.timeline import events
from quorate.simulator.timeline.recorder import Recorder
from quorate.simulator.timeline.words import content, cut, name_of_message, term_of

MARK = b"\x1eevent "
SAMPLE_MS = 250.0


def name_of(replica: ReplicaId) -> str:
    """Its lane."""
    return f"n{node_of(replica)}"


class Watcher(Recorder):
    """An ``Observer`` that keeps nothing: what it is told of it gives to ``write``."""

    def __init__(
        self,
        now_ms: Callable[[], float],
        write: Callable[[bytes], object] | None = None,
        group: GroupId | None = None,
    ) -> None:
        """``group`` alone is told of; ``None``: all are."""
        super().__init__(now_ms, name_of)
        self._group = group
        self._write = write or (lambda line: os.write(1, line))
        self._told: dict[ReplicaId, tuple[tuple[object, ...], float]] = {}
        """What was last told of each replica, and when."""

    def add(self, event: events.Event) -> None:
        if event.kind == "delivered" and event.message not in ELECTING:
            if event.state is None:
                return
            text = f"after {event.message} of {event.peer}"
            event = msgspec.structs.replace(event, kind="step", text=text, arrow=0, minor=True)
        self._write(MARK + msgspec.json.encode(event) + b"\n")

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None:
        if not self._is_told(group):
            return
        seen = (replica.role, replica.term, replica.voted_for, replica.leader)
        elects = isinstance(event, Receive) and _is_of_election(event.message)
        now_ms = self._now_ms()
        before, told_ms = self._told.get(replica.replica, ((), 0.0))
        if seen == before and not elects and now_ms < told_ms + SAMPLE_MS:
            return
        self._told[replica.replica] = seen, now_ms
        super().stepped(group, replica, event, effects)
        self._minor_replies.clear()  # ``sent`` asks for none

    def _is_told(self, group: GroupId) -> bool:
        return self._group in (None, group)

    def applied(self, group: GroupId, replica: ReplicaId, entry: Entry, digest: int) -> None:
        """The samples say how far it is."""

    def sent(self, address: Address, notice: RaftMessages) -> None:
        for envelope in notice.envelopes:
            message, name = envelope.message, name_of_message(envelope.message)
            if self._is_told(envelope.group) and _is_of_election(message):
                self.tell(
                    "sent",
                    name_of(envelope.sender),
                    cut(content(message)),
                    f"sent {name}",
                    group=envelope.group,
                    message=name,
                    peer=name_of(envelope.receiver),
                    term=term_of(message),
                )


ELECTING = ("PreVoteRequest", "PreVoteReply", "VoteRequest", "VoteReply", "TimeoutNow")


def _is_of_election(message: Message) -> bool:
    return isinstance(message, VoteRequest | VoteReply | TimeoutNow)
