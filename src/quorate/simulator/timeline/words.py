"""Messages, events and commands in words: what stories print and timelines show."""

from collections.abc import Callable

import msgspec

from quorate.base.ids import ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import Entry, EntryKind, configuration_in
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

MAX_WORDS = 160
"""Characters of what an event of a timeline says."""


def name_of_message(message: Message) -> str:
    """Its type, or that of the question before an election."""
    name = type(message).__name__
    if isinstance(message, VoteRequest | VoteReply) and message.pre_vote:
        name = f"Pre{name}"
    return name


def term_of(message: Message) -> int:
    """0: it has none."""
    return 0 if isinstance(message, ReadRequest | ReadReply) else message.term


def content(message: Message) -> str:
    """All that it says besides its term."""
    match message:
        case VoteRequest(_, index, term):
            return f"last entry {index}:{term}"
        case VoteReply(_, granted):
            return "granted" if granted else "refused"
        case AppendRequest(_, index, term, commit_index, entries):
            new = " ".join(f"{e.index}:{e.term}{_kind(e)}" for e in entries)
            return f"after {index}:{term}  entries {new or 'none'}  commit {commit_index}"
        case AppendReply(_, True, match_index):
            return f"accepted up to {match_index}"
        case AppendReply(_, _, _, index, conflict_term, conflict_index):
            if not conflict_index:
                return "refused"
            has = f"term {conflict_term} since {conflict_index}"
            ends = f"log ends at {conflict_index - 1}"
            return f"refused after {index}: {has if conflict_term else ends}"
        case InstallSnapshot(_, snapshot):
            return f"snapshot up to {snapshot.id.index}:{snapshot.id.term}"
        case InstallReply():
            return "is fetching it"
        case ReadRequest(read):
            return f"read {read}"
        case ReadReply(read, index):
            return f"read {read} may be answered from {index} on"
        case TimeoutNow():
            return "take over"


def _kind(entry: Entry) -> str:
    if entry.kind == EntryKind.CONFIGURATION:
        return f" {configuration_name(configuration_in(entry))}"
    return " no-op" if entry.kind == EntryKind.NOOP else ""


def configuration_name(configuration: Configuration) -> str:
    """As figure 11 of the paper has it."""
    return "C_old,new" if configuration.is_joint else "C_new"


def members(configuration: Configuration, name_of: Callable[[ReplicaId], str]) -> str:
    """``S1 S2 S3 → S4 S5 S6, learning S7``."""

    def names(replicas: tuple[ReplicaId, ...]) -> str:
        return " ".join(map(name_of, replicas))

    told = names(configuration.voters)
    if configuration.is_joint:
        told = f"{names(configuration.old_voters)} → {told}"
    learners = names(configuration.learners)
    return f"{told}, learning {learners}" if learners else told


def counted(configuration: Configuration, says_yes: Callable[[ReplicaId], bool]) -> str:
    """How many of the old and of the new voters of a joint configuration say yes (§6)."""
    old, new = (
        f"{sum(map(says_yes, voters))} of {len(voters)}"
        for voters in (configuration.old_voters, configuration.voters)
    )
    both = configuration.is_quorum(says_yes)
    return f"of the old {old}, of the new {new}: {'both' if both else 'not both'} majorities"


def is_minor(message: Message) -> bool:
    """A heartbeat, or an answer to one as far as one can see."""
    return isinstance(message, AppendRequest) and not message.entries


def call(value: object) -> str:
    """A command or query of a client: ``Write r1 3``."""
    facts = msgspec.structs.astuple(value) if isinstance(value, msgspec.Struct) else (value,)
    return cut(" ".join([type(value).__name__, *map(str, facts)]))


def cut(text: str) -> str:
    """Short enough for an event."""
    return text if len(text) <= MAX_WORDS else text[: MAX_WORDS - 1] + "…"
