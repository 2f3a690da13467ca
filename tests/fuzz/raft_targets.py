"""A replica among peers that lie: well-typed messages that no correct peer sends.

What ``refusal`` lets through must never raise, break an invariant of the replica, or change an
entry that it knows to be committed.
"""

import random
from typing import Any, TypeAlias

import msgspec
from fuzz.target import Target, expect, framed, parts

from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.configuration import Configuration, founding
from quorate.raft.core.entries import NOBODY, Entry, EntryKind, HardState, Snapshot, SnapshotId
from quorate.raft.core.events import (
    Change,
    Compact,
    Event,
    PeerLost,
    Persisted,
    Propose,
    Read,
    Receive,
    SnapshotInstalled,
    SnapshotTaken,
    Tick,
    Transfer,
)
from quorate.raft.core.invariants import check_state, check_step, summary
from quorate.raft.core.log import Log
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.core.step import step
from quorate.raft.core.validation import refusal
from quorate.raft.messages import RaftMessages

ME, TWO, THREE, FOUR = (ReplicaId(number) for number in range(1, 5))
FOUNDING = founding({replica: Address(f"m{replica}:raft") for replica in (ME, TWO, THREE)})
ADDRESSES = {**FOUNDING.addresses, FOUR: Address("m4:raft")}
TARGETS_OF_CHANGES = [
    Configuration(FOUNDING.voters, ADDRESSES, (FOUR,)),
    founding({replica: ADDRESSES[replica] for replica in (ME, TWO, FOUR)}),
    Configuration((TWO, FOUR), {replica: ADDRESSES[replica] for replica in (TWO, FOUR)}),
]
"""Four learns; it votes in place of Three; One, who is told all this, leaves."""
GROUP = GroupId(1)
Said: TypeAlias = tuple[int, Message]
"""Who says what."""

_said = msgspec.msgpack.Decoder(Said)


class Deceived:
    """One of three replicas; everything it hears may be a lie."""

    def __init__(self, lease: bool) -> None:
        self.now_ms = 0.0
        self.replica = Replica(
            ME,
            FOUNDING,
            Log(),
            HardState(),
            now_ms=0.0,
            draw=random.Random(1).random,
            timing=Timing(lease=lease),
            limits=Limits(inflight_messages=2, retained_log_bytes=64),
        )
        self.committed: dict[int, Entry] = {}
        self.offered: Snapshot | None = None
        self.steps = 0
        self.known = {TWO, THREE, FOUR}
        """Whom it may speak to."""

    def hear(self, sender: ReplicaId, message: Message) -> bool:
        """Whether it was let through."""
        self.known.add(sender)
        before = self._state()
        if refusal(self.replica, sender, message) is not None:
            expect(self._state() == before, "a message that was refused changed something")
            return False
        self.take(Receive(sender, message))
        return True

    def _state(self) -> tuple[Any, ...]:
        replica = self.replica
        known = tuple(replica.configurations)
        return (summary(replica), replica.round, replica.writes, len(replica.reads), known)

    def act(self, number: int) -> None:
        """Something that happens to a replica by itself."""
        replica, self.steps = self.replica, self.steps + 1
        events: list[Event] = [
            Tick(),
            Persisted(replica.writes),
            Propose([b"command"]),
            Read(self.steps),
            Transfer(TWO),
            PeerLost(replica.leader if replica.leader != NOBODY else TWO),
            Compact(3),
            Persisted(max(0, replica.writes - 1)),
            *map(Change, TARGETS_OF_CHANGES),
        ]
        term = replica.log.term(replica.commit_index)
        if term is not None and replica.commit_index:
            index = replica.commit_index
            taken = SnapshotId(GROUP, index, term, ME)
            members = replica.configuration_at(index)
            events.append(SnapshotTaken(Snapshot(taken, 5, 100, members)))
        if self.offered is not None:
            events.append(SnapshotInstalled(self.offered))
            self.offered = None
        self.take(events[number % len(events)])

    def take(self, event: Event) -> None:
        replica = self.replica
        self.now_ms += 10
        if isinstance(event, Tick):
            self.now_ms = max(self.now_ms, replica.next_deadline_ms)
        before = summary(replica)
        effects = step(replica, event, self.now_ms)
        check_state(replica)
        check_step(before, replica)
        self.offered = effects.install or self.offered
        self.known.update(replica.configuration.members)
        for outgoing in effects.messages:
            expect(outgoing.receiver in self.known - {ME}, "a message to nobody")
            decode(encode((int(ME), outgoing.message)), Said)
        self._remember()

    def _remember(self) -> None:
        log, commit_index = self.replica.log, self.replica.commit_index
        for index, entry in list(self.committed.items()):
            if index <= log.base.index:
                del self.committed[index]
            else:
                expect(log.entry(index) == entry, f"entry {index} was committed and has changed")
        for index in range(max(log.base.index, *self.committed, 0) + 1, commit_index + 1):
            self.committed[index] = log.entry(index)


def _lies(data: bytes) -> None:
    """The first part says whether leases are on.  Then, parts of one byte are events of the
    replica's own, the others messages."""
    row = parts(data)
    deceived = Deceived(row[:1] == [b"\1"])
    for part in row[1:200]:
        if len(part) == 1:
            deceived.act(part[0])
            continue
        try:
            sender, message = _said.decode(part)
        except UNREADABLE:
            continue
        deceived.hear(ReplicaId(sender), message)


def _entry(index: int, term: int) -> Entry:
    return Entry(index, term, int(EntryKind.COMMAND), b"entry %d of %d" % (index, term))


_JOINED = TARGETS_OF_CHANGES[1]


def _configured(index: int, configuration: Configuration) -> Entry:
    return Entry(index, 1, int(EntryKind.CONFIGURATION), encode(configuration))


def _say(message: Message, sender: ReplicaId = TWO) -> Said:
    return (int(sender), message)


def _changes(lead: list[int | Said], offer: Snapshot) -> list[list[int | Said]]:
    """``lead``: it leads, and three entries are in its log."""

    def all_have(index: int) -> list[int | Said]:
        reply = AppendReply(1, True, index)
        return [1, *[_say(reply, member) for member in (TWO, THREE, FOUR)]]

    changes: list[int | Said] = [*lead, 8, *all_have(4)]
    changes += [9, *all_have(5), *all_have(6)]
    changes += [10, *all_have(7), *all_have(8), 0]
    told = [
        _configured(index, target)
        for index, target in enumerate((FOUNDING.towards(_JOINED), _JOINED, FOUNDING), 1)
    ]
    follow_changes: list[int | Said] = [
        _say(AppendRequest(1, 0, 0, 0, told, 1), FOUR),
        1,
        _say(AppendRequest(2, 1, 1, 1, [_entry(2, 2)], 1)),  # two of them are replaced
        0,
        _say(InstallSnapshot(3, msgspec.structs.replace(offer, configuration=_JOINED), 1), THREE),
        11,
        0,
    ]
    return [changes, follow_changes]


def _scripts() -> list[list[int | Said]]:
    follow: list[int | Said] = [
        _say(VoteRequest(1, 0, 0, True)),
        _say(VoteRequest(1, 0, 0)),
        1,
        _say(AppendRequest(1, 0, 0, 0, [_entry(1, 1), _entry(2, 1)], 1)),
        1,
        _say(AppendRequest(1, 2, 1, 2, [_entry(3, 1)], 2)),
        3,
        _say(ReadReply(1, 2)),
        _say(AppendRequest(2, 2, 1, 3, [_entry(3, 2), _entry(4, 2)], 1), THREE),
        1,
        11,  # takes a snapshot
        6,
        _say(TimeoutNow(2), THREE),
    ]
    lead: list[int | Said] = [
        0,
        _say(VoteReply(1, True, True)),
        1,
        _say(VoteReply(1, True)),
        1,
        _say(AppendReply(1, True, 1, round=1)),
        2,
        2,
        1,
        _say(AppendReply(1, True, 3, round=1), THREE),
        3,
        _say(ReadRequest(7)),
        0,
        _say(AppendReply(1, False, 0, 1, 0, 1, 3)),
        _say(AppendReply(1, True, 3, round=3)),
        _say(AppendReply(1, False, 0, 2, 0, 2, 3), THREE),
        11,
        6,
        _say(InstallReply(1, 3)),
        4,
        0,
    ]
    answered: list[int | Said] = [
        *lead[:8],
        _say(AppendReply(1, True, 2, round=1)),
        _say(AppendReply(1, False, 0, 3, 0, 3, 1)),
    ]
    offer = Snapshot(SnapshotId(GROUP, 9, 3, TWO), 5, 100, FOUNDING)
    install: list[int | Said] = [
        *follow[:5],
        _say(InstallSnapshot(3, offer, 1)),
        11,  # has fetched it
        _say(AppendRequest(3, 9, 3, 9, [_entry(10, 3)], 2)),
        1,
        _say(AppendRequest(3, 5, 2, 9, [_entry(index, 3) for index in range(6, 12)], 2)),
    ]

    return [follow, lead, answered, install, *_changes(lead[:8], offer)]


def _seeds() -> list[bytes]:
    rows = [
        [bytes([part]) if isinstance(part, int) else encode(part) for part in script]
        for script in _scripts()
    ]
    return [framed([lease, *row]) for row in rows for lease in (b"\0", b"\1")]


def _notice(data: bytes) -> None:
    """Decoding alone: only what says so comes out."""
    try:
        decode(data, RaftMessages)
    except UNREADABLE:
        return


def _notice_seeds() -> list[bytes]:
    said = [part for script in _scripts() for part in script if not isinstance(part, int)]
    envelopes = [[int(GROUP), sender, int(ME), message] for sender, message in said]
    return [encode(["raft.messages.1", envelopes[at : at + 3]]) for at in range(len(envelopes))]


TARGETS = [
    Target("raft.lies", _lies, _seeds, True),
    Target("raft.notice", _notice, _notice_seeds, weight=2),
]
