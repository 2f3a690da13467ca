"""What goes over the network for Raft: between replicas, and from clients."""

import msgspec

from quorate.base.codec import Notice, Reply, Request
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import SnapshotId
from quorate.raft.core.messages import Message


class Envelope(msgspec.Struct, array_like=True):
    """One message of one group; replica ids are never reused, so it cannot meet a successor."""

    group: GroupId
    sender: ReplicaId
    receiver: ReplicaId
    message: Message


class RaftMessages(Notice, tag="raft.messages.1"):
    """All that one node's replicas had to say to another node's in one turn of the loop."""

    envelopes: list[Envelope]
    door: Address | None = None
    """Where the process that says so listens: who was away for so long that its log does not name
    its leader, or names another address, can answer it all the same."""


class DigestNotice(Notice, tag="raft.digest.1"):
    """At ``index`` the state of ``replica`` has ``digest`` (raft/digests.py); to its leader."""

    group: GroupId
    replica: ReplicaId
    index: int
    digest: int


class DivergedNotice(Notice, tag="raft.diverged.1"):
    """The leader's word that a majority has another state at ``index`` than ``replica`` has."""

    group: GroupId
    replica: ReplicaId
    index: int


class SnapshotDoubted(Notice, tag="raft.snapshot_doubted.1"):
    """What a replica was sent of ``snapshot`` does not check: the sender may look at its file."""

    snapshot: SnapshotId


MAX_PROPOSED = 256
MAX_PROPOSED_BYTES = 640 * 1024
"""Of the commands in one ``Propose``; a control frame takes 1 MiB."""


class Propose(Request[list[bytes]], tag="raft.propose.1"):
    """Have ``commands`` (encoded ``SessionCommand`` values, see raft/sessions.py) applied, in this
    order; at least one and at most ``MAX_PROPOSED``.

    Answered with the encoded ``Outcome`` (base/codec.py) of each, with ``NotLeader`` (a redirect:
    surely none was applied) or with ``Maybe``; with ``AnswerHeld`` if they are too large for that
    (raft/answers.py).
    """

    group: GroupId
    commands: list[bytes]


class AnswerPiece(Reply):
    """The bytes are the payload."""


class ReadAnswer(Request[AnswerPiece], tag="raft.read_answer.1"):
    """Bytes of an answer that is held, from ``offset`` on; ``NotFound`` if it is not any more.  A
    bulk call."""

    number: int
    offset: int


class Ask(Request[bytes], tag="raft.ask.1"):
    """A linearizable query, answered with its encoded ``Outcome``.  ``anywhere``: a follower may
    answer it from its own state, once that has what the leader had committed when it came."""

    group: GroupId
    query: bytes
    anywhere: bool = False


class SnapshotChunk(Reply):
    """The bytes are the payload."""


class ReadSnapshot(Request[SnapshotChunk], tag="raft.read_snapshot.1"):
    """Bytes of a snapshot's file, for a replica that was offered it; ``NotFound`` if a newer one
    has taken its place."""

    snapshot: SnapshotId
    offset: int
    length: int


class GroupStatus(Reply):
    """One replica, as it sees itself; indexes are log indexes."""

    group: GroupId
    replica: ReplicaId
    role: str
    term: int
    leader: Address | None
    """The address of the leader's process, if this replica knows it."""
    commit_index: int
    last_applied: int
    last_index: int
    digest: int
    """Of the state at ``last_applied``."""
    first_index: int = 1
    """Of the entries that are still in the log."""
    snapshot_index: int = 0
    """What the newest snapshot on this disk stands for; 0 if there is none."""
    configuration: Configuration | None = None
    match_indexes: dict[ReplicaId, int] = msgspec.field(default_factory=dict)
    """How far each other member's log is known to equal the leader's; empty if this is none."""
    last_term: int = 0
    """Of the last entry."""
    heard_ms: dict[ReplicaId, int] = msgspec.field(default_factory=dict)
    """How long ago each other replica said anything to this one; one that has not said anything
    since this process began is missing."""
    diverged: dict[ReplicaId, int] = msgspec.field(default_factory=dict)
    """Replicas whose state differed from the majority's, as this leader saw, and at which index."""


class GroupStatuses(Reply):
    groups: list[GroupStatus]


class Readiness(Reply):
    """Empty if all is well."""

    problems: list[str]
    """A sentence for each replica here that cannot answer."""
    warnings: list[str] = msgspec.field(default_factory=list)
    """What else an operator must know, though replicas here answer."""


class AskReady(Request[Readiness], tag="raft.ready.1"):
    """Can each replica of the process answer a linearizable read now?  So: it knows a leader whom a
    majority follows, and has applied all that was committed when it was asked."""


class AskStatus(Request[GroupStatuses], tag="raft.status.1"):
    """The state of every replica of the process that is asked."""


class Members(msgspec.Struct, array_like=True, frozen=True):
    """Who is to belong to a group."""

    voters: tuple[ReplicaId, ...]
    addresses: dict[ReplicaId, Address]
    """Of all of them."""
    learners: tuple[ReplicaId, ...] = ()
    names: dict[ReplicaId, str] = msgspec.field(default_factory=dict)

    def instead_of(self, now: Configuration) -> Configuration:
        """What a group of ``now`` is to become: who was given up stays so."""
        return Configuration(
            self.voters, self.addresses, self.learners, names=self.names, lost=now.lost
        )


class AskMembers(Request[Configuration], tag="raft.members.1"):
    """Who belongs to ``group``: linearizable, by its leader, and committed."""

    group: GroupId


class ChangeMembers(Request[Configuration], tag="raft.change_members.1"):
    """Make ``members`` those of ``group`` (raft/changes.py); the leader answers when that is so.
    Asking again goes on where the change stands."""

    group: GroupId
    members: Members
    expected: Configuration | None = None
    """What the change was thought out for.  If the group is neither there nor on the way from there
    to ``members``, somebody else has changed it, which must not be undone: ``Fenced``."""


class TransferLeadership(Request[GroupStatus], tag="raft.transfer.1"):
    """Have the leader of ``group`` hand over to ``target``, or to the fittest; its status then."""

    group: GroupId
    target: ReplicaId | None = None
