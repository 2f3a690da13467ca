"""Commands on their way into the log: entries of bounded size, one answer to each caller."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.check import Bug
from quorate.base.errors import Maybe, NotLeader, QuorateError
from quorate.raft.proposals import MAX_BATCH_BYTES, MAX_BATCH_COMMANDS, Proposals


class Caller:
    """Who waits, and what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def resolve(self, value: Any) -> None:
        self.told.append(value)

    def fail(self, error: QuorateError) -> None:
        self.told.append(type(error))


class Log:
    """Takes entries from index 1 on, unless it leads nobody."""

    def __init__(self, *, leads: bool = True) -> None:
        self.entries: list[list[bytes]] = []
        self._leads = leads

    def append(self, batches: list[list[bytes]]) -> int | None:
        if not self._leads:
            return None
        first = len(self.entries) + 1
        self.entries += batches
        return first


def proposed(proposals: Proposals, log: Log) -> list[Any]:
    return list(proposals.propose(1, 0.0, log.append))


@given(
    st.lists(st.lists(st.integers(1, 200_000), min_size=1, max_size=300), min_size=1, max_size=5)
)
def test_each_caller_is_answered_once_with_its_own_outcomes_in_order(
    sizes: list[list[int]],
) -> None:
    proposals, log, callers = Proposals(), Log(), [Caller() for _ in sizes]
    commands = [
        [b"%d.%d" % (number, place) + bytes(size) for place, size in enumerate(of_one)]
        for number, of_one in enumerate(sizes)
    ]
    firsts = [proposals.add(*pair) for pair in zip(commands, callers, strict=True)]
    assert firsts == [True] + [False] * (len(sizes) - 1)
    assert proposals.count == sum(map(len, sizes))
    assert proposed(proposals, log) == []
    assert [raw for entry in log.entries for raw in entry] == [c for own in commands for c in own]
    for index, entry in enumerate(log.entries, 1):
        assert len(entry) <= MAX_BATCH_COMMANDS
        assert len(entry) == 1 or sum(map(len, entry)) <= MAX_BATCH_BYTES
        proposals.applied(index, 1, [raw[:8] for raw in entry])
    assert [caller.told for caller in callers] == [[[c[:8] for c in own]] for own in commands]
    assert (proposals.count, proposals.bytes) == (0, 0)


def test_where_nobody_leads_everything_is_given_back() -> None:
    proposals, caller = Proposals(), Caller()
    proposals.add([b"a", b"b"], caller)
    [refused] = proposed(proposals, Log(leads=False))
    refused.fail(NotLeader("elsewhere"))
    assert caller.told == [NotLeader]
    assert (proposals.count, proposals.bytes) == (0, 0)


def test_a_caller_is_told_once_that_nobody_knows_though_some_of_its_commands_were_applied() -> None:
    proposals, log, caller = Proposals(), Log(), Caller()
    commands = [b"x"] * (2 * MAX_BATCH_COMMANDS + 1)
    proposals.add(commands, caller)
    proposed(proposals, log)
    proposals.applied(1, 1, [b""] * MAX_BATCH_COMMANDS)
    proposals.fail(lambda: Maybe("changed its leader"))
    assert caller.told == [Maybe]
    assert (proposals.count, proposals.bytes) == (0, 0)
    proposals.applied(2, 2, [b""])  # of another leader: nobody waits for it
    assert caller.told == [Maybe]


def test_another_entry_in_the_place_of_a_proposal_is_a_bug() -> None:
    for term, outcomes in ((2, [b""]), (1, [b"", b""])):
        proposals = Proposals()
        proposals.add([b"a"], Caller())
        proposed(proposals, Log())
        with pytest.raises(Bug):
            proposals.applied(1, term, outcomes)
