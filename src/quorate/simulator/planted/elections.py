"""Planted bugs of elections: Raft §5.1, §5.2 and §5.4.1."""

from quorate.base.ids import GroupId
from quorate.raft import driver
from quorate.raft.core.entries import NOBODY, EntryId, HardState
from quorate.raft.core.log import Log
from quorate.raft.core.messages import Message, VoteReply
from quorate.raft.wal import Wal
from quorate.simulator.planted.patching import PlantedBug

_set_state = Wal.set_state
_waits_for_disk = driver.waits_for_disk


def _forget_vote(self: Wal, group: GroupId, state: HardState) -> None:
    _set_state(self, group, HardState(state.term, NOBODY))


def _write_votes_only(self: Wal, group: GroupId, state: HardState) -> None:
    if state.voted_for != NOBODY:
        _set_state(self, group, state)


def _compare_terms_only(self: Log, candidate: EntryId) -> bool:
    return candidate.term >= self.last_term


def _vote_at_once(message: Message, durable_index: int, durable_term: bool) -> bool:
    if isinstance(message, VoteReply):
        return False
    return _waits_for_disk(message, durable_index, durable_term)


BUGS = (
    PlantedBug(
        "vote not persisted",
        "the term goes to the disk, the vote does not: after a crash it is given again",
        ((Wal, "set_state", _forget_vote),),
    ),
    PlantedBug(
        "term not persisted",
        "a term that was only heard of is written with the next vote: a crash forgets it",
        ((Wal, "set_state", _write_votes_only),),
    ),
    PlantedBug(
        "vote granted to a shorter log",
        "of two logs that end in the same term the shorter one is taken for up to date, too",
        ((Log, "is_up_to_date", _compare_terms_only),),
    ),
    PlantedBug(
        "vote before fsync",
        "a vote leaves while it is being written: a crash forgets it, and it is given again",
        ((driver, "waits_for_disk", _vote_at_once),),
    ),
)
