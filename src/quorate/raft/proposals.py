"""Commands that wait for their entry to be applied, and whom to tell.

Rules:
* Commands that are proposed together become one log entry, a ``LogBatch``; more than its bounds
  allow become several, in order.
* Who proposes several commands at once is answered once, when all are applied.
* A leader that steps down lets nobody wait: the answer is *maybe*.
* What would be refused by the state as it is takes no entry of the log, if nothing else is on its
  way: ``refuse`` is asked, and gives the outcomes, or ``None``.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from quorate.base.check import check
from quorate.base.errors import Overloaded, QuorateError

MAX_BATCH_COMMANDS = 512
MAX_BATCH_BYTES = 256 * 1024


MAX_WAITING = 8192
"""Commands and queries that wait for their entry; more are refused with ``Overloaded``."""
MAX_WAITING_BYTES = 64 << 20
"""Of the commands among them; the same bound."""

Refuse: TypeAlias = Callable[[Sequence[bytes], Callable[[], int]], list[bytes] | None]
"""Told the commands, and asked the log time that their entry would have."""


class LogBatch(msgspec.Struct, array_like=True):
    """The data of a ``COMMAND`` entry."""

    time_ms: int
    """The proposer's clock, milliseconds since 1970."""
    commands: list[bytes]
    """Encoded ``WrappedCommand`` values (raft/sessions.py)."""


class Answer(Protocol):
    """Who waits: told once, by one of the two."""

    def resolve(self, value: Any) -> None:
        """``list[bytes]``: the encoded ``Outcome`` of each command, in order."""

    def fail(self, error: QuorateError) -> None: ...


class Awaited:
    """An ``Answer`` for who awaits one command here."""

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def resolve(self, value: list[bytes]) -> None:
        if not self.future.done():
            self.future.set_result(value[0])

    def fail(self, error: QuorateError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Proposal:
    """The commands of one caller."""

    __slots__ = ("answer", "missing", "outcomes")

    def __init__(self, count: int, answer: Answer) -> None:
        self.missing = count
        self.answer: Answer | None = answer
        self.outcomes: list[bytes] = []

    def applied(self, outcomes: list[bytes]) -> None:
        self.outcomes += outcomes
        self.missing -= len(outcomes)
        if not self.missing and self.answer is not None:
            self.answer.resolve(self.outcomes)

    def fail(self, error: QuorateError) -> None:
        answer, self.answer = self.answer, None
        if answer is not None:
            answer.fail(error)


class _InLog(msgspec.Struct):
    """What one entry holds."""

    term: int
    count: int
    bytes: int
    proposed_ms: float
    parts: list[tuple[_Proposal, int]]
    """Whose commands it has, and how many of each, in order."""


class Proposals:
    """The commands of one replica, from their coming to their answers."""

    def __init__(self) -> None:
        self._queue: list[bytes] = []
        self._queued: deque[_Proposal] = deque()
        self._in_log: dict[int, _InLog] = {}
        self.count = 0
        self.bytes = 0
        """Of all commands that are not yet answered."""
        self.refuse: Refuse | None = None

    def admit(self, group: str, reading: int, count: int, command_bytes: int) -> None:
        """Raise ``Overloaded`` unless so many more may wait, beside ``reading`` queries."""
        waiting = self.count + reading
        if waiting + count > MAX_WAITING or self.bytes + command_bytes > MAX_WAITING_BYTES:
            raise Overloaded(
                f"group {group} has {waiting} requests waiting, with commands of {self.bytes}"
                " bytes; try again later"
            )

    def refused(self, commands: Sequence[bytes], answer: Answer, now_ms: Callable[[], int]) -> bool:
        """Whether ``answer`` gets what ``refuse`` gives; all in the log must be applied."""
        outcomes = None
        if self.refuse is not None and not self.count:
            outcomes = self.refuse(commands, now_ms)
        if outcomes is not None:
            asyncio.get_running_loop().call_soon(answer.resolve, outcomes)
        return outcomes is not None

    @property
    def queued(self) -> bool:
        """Whether there is anything to propose."""
        return bool(self._queue)

    def add(self, commands: Sequence[bytes], answer: Answer) -> bool:
        """To be proposed; whether they are the first since that was done."""
        first = not self._queue
        self._queue += commands
        self._queued.append(_Proposal(len(commands), answer))
        self.count += len(commands)
        self.bytes += sum(map(len, commands))
        return first

    def propose(
        self,
        term: int,
        now_ms: float,
        append: Callable[[list[list[bytes]]], int | None],
    ) -> Iterable[_Proposal]:
        """Have what was added appended, as entries, at ``now_ms`` of the monotonic clock; gives
        those that were not, if no leader is here."""
        queue, self._queue = self._queue, []
        queued, self._queued = self._queued, deque()
        batches = [queue[batch] for batch in _cut(queue)]
        first = append(batches)
        if first is None:
            self.count -= len(queue)
            self.bytes -= sum(map(len, queue))
            return queued
        open_ = 0  # commands of the first of ``queued`` that have their entry already
        for index, batch in enumerate(batches, first):
            entry = _InLog(term, len(batch), sum(map(len, batch)), now_ms, [])
            room = len(batch)
            while room:
                proposal = queued[0]
                count = min(room, proposal.missing - open_)
                entry.parts.append((proposal, count))
                room, open_ = room - count, open_ + count
                if open_ == proposal.missing:
                    queued.popleft()
                    open_ = 0
            self._in_log[index] = entry
        return ()

    def applied(self, index: int, term: int, outcomes: list[bytes]) -> float | None:
        """The entry at ``index`` was applied: answer those who wait for it; when it was proposed,
        if that was here."""
        entry = self._in_log.pop(index, None)
        if entry is None:
            return None
        # Only a follower's log is replaced, and a leader that steps down lets nobody wait.
        check(entry.term == term, "another entry took the place of a proposal")
        check(entry.count == len(outcomes), "an entry has other commands than were proposed")
        self._forget(entry)
        position = 0
        for proposal, count in entry.parts:
            proposal.applied(outcomes[position : position + count])
            position += count
        return entry.proposed_ms

    def fail(self, error: Callable[[], QuorateError]) -> None:
        """Nobody knows what becomes of what is in the log."""
        in_log, self._in_log = self._in_log, {}
        for entry in in_log.values():
            self._forget(entry)
            for proposal, _ in entry.parts:
                proposal.fail(error())

    def _forget(self, entry: _InLog) -> None:
        self.count -= entry.count
        self.bytes -= entry.bytes


def _cut(queue: list[bytes]) -> list[slice]:
    """All of ``queue`` in order, in batches within the bounds of one entry."""
    if len(queue) <= MAX_BATCH_COMMANDS and sum(map(len, queue)) <= MAX_BATCH_BYTES:
        return [slice(0, len(queue))]
    batches: list[slice] = []
    start = size = 0
    for end, command_bytes in enumerate(map(len, queue)):
        size += command_bytes
        if end > start and (end - start >= MAX_BATCH_COMMANDS or size > MAX_BATCH_BYTES):
            batches.append(slice(start, end))
            start, size = end, command_bytes
    batches.append(slice(start, len(queue)))
    return batches
