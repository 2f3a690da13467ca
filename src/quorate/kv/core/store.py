"""The key/value map: the state machine (the course's lab 3).

Rules, beside those of ``commands.py``, ``items.py`` and ``history.py``:
* An operation is looked at whole before it changes anything; what it refuses, it leaves.
* A transaction that is to be *whole* notes what it changes, and puts it back where an operation
  after that is refused.  Its events are told only when it is done.
* Nothing takes long: a bounded number of keys goes with one entry because their time has come (the
  others are not there either, only not taken away yet), and what ``Clear`` leaves behind is let go
  of a little at a time.  What is left to do is due at once (``next_deadline_ms``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from quorate.base.errors import BadInput, QuorateError
from quorate.base.frozen import FreezableMap
from quorate.base.machine import Meta, TypedMachine
from quorate.kv.core import snapshot
from quorate.kv.core.commands import (
    MAX_OPERATIONS,
    AnyOperation,
    Apply,
    AskStatistics,
    Changed,
    Changes,
    Condition,
    HasRevision,
    HasValue,
    Look,
    LookUp,
    Page,
    Range,
    Refusal,
    Stage,
    Statistics,
    Transact,
    Transacted,
)
from quorate.kv.core.history import MAX_EVENTS
from quorate.kv.core.items import Item, Table
from quorate.kv.core.looks import look, page
from quorate.kv.core.operations import CHANGES
from quorate.kv.core.state import State


class Store(TypedMachine):
    """Keys and values, with everything that this folder's modules say of them."""

    commands = (Apply, Transact, Stage)
    queries = (LookUp, Range, Changes, AskStatistics)

    def __init__(
        self,
        make_table: Callable[[], Table] | None = None,
        max_events: int = MAX_EVENTS,
    ) -> None:
        """``make_table`` gives an empty one; the default is in memory."""
        super().__init__()
        self._make_table = make_table or in_memory
        self._max_events = max_events
        self.state = self._make_state()

    def _make_state(self) -> State:
        return State(self._make_table(), self._max_events)

    # Commands.

    def expire(self, meta: Meta) -> None:
        self.state.pass_time(meta.time_ms)

    def execute(self, meta: Meta, command: Apply | Transact | Stage) -> object:
        try:
            match command:
                case Apply(operations):
                    _refuse_many(len(operations))
                    return self._each(operations)
                case Transact():
                    return self._transact(command)
                case Stage():
                    return self.state.stage(command)
        finally:
            self.state.end()

    def _each(self, operations: Sequence[AnyOperation]) -> list[object]:
        """In order, each by itself."""
        replies: list[object] = []
        for operation in operations:
            try:
                replies.append(self._perform(operation))
            except QuorateError as error:
                replies.append(Refusal(error.code, error.message))
        return replies

    def _perform(self, operation: Any) -> object:
        change = CHANGES.get(type(operation))
        return look(self.state, operation) if change is None else change(self.state, operation)

    def _transact(self, it: Transact) -> Transacted:
        _refuse_many(len(it.conditions) + len(it.then) + len(it.otherwise))
        held = all(map(self._holds, it.conditions))
        operations = it.then if held else it.otherwise
        self.state.begin(whole=it.whole)
        if not it.whole:
            replies = self._each(operations)
            return Transacted(held, self.state.revision, replies)
        try:
            replies = [self._perform(operation) for operation in operations]
        except QuorateError:
            self.state.take_back()
            raise
        return Transacted(held, self.state.revision, replies)

    def _holds(self, condition: Condition) -> bool:
        state, item = self.state, self.state.get(condition.key)
        match condition:
            case HasRevision(_, revision):
                return (item.revision if item is not None else 0) == revision
            case HasValue(_, value):
                return (item.value if item is not None else None) == value
            case _:
                if item is not None:
                    return item.revision <= condition.since
                # An end that has come, and of which no event tells yet, is a change, too.
                ended = state.items.table.get(condition.key) is not None
                return not ended and not state.history.deleted_after(condition.key, condition.since)

    # Queries.

    def answer(self, query: LookUp | Range | Changes | AskStatistics) -> object:
        match query:
            case LookUp(operations):
                _refuse_many(len(operations))
                return [self.look(operation) for operation in operations]
            case Range():
                return self.page(query)
            case Changes():
                return self.changes(query)
            case AskStatistics():
                return self.statistics()

    def look(self, operation: Look) -> object:
        """The reply of an operation that only reads."""
        return look(self.state, operation)

    def page(self, query: Range) -> Page:
        """Part of a range."""
        return page(self.state, query)

    def changes(self, query: Changes) -> Changed:
        """What happened lately; raises ``NotFound`` if that is forgotten."""
        history, revision = self.state.history, self.state.revision
        return history.after(query.since, query.start, query.end, query.limit, revision)

    def statistics(self) -> Statistics:
        """Of the whole store."""
        state = self.state
        return Statistics(
            state.revision,
            len(state.items),
            state.items.bytes + state.staged_bytes,
            state.history.forgotten,
            state.items.with_end,
        )

    # What a replica asks.

    def snapshot(self) -> Iterator[bytes]:
        return snapshot.write(self.state)

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        def take(state: State) -> None:
            self.state = state

        return snapshot.read(stream, self._make_state, take)

    def digest(self) -> int:
        return self.state.digest()

    def next_deadline_ms(self) -> int | None:
        return self.state.next_deadline_ms()


def in_memory() -> Table:
    """An empty table."""
    table: FreezableMap[bytes, Item] = FreezableMap()
    return table


def _refuse_many(count: int) -> None:
    if count > MAX_OPERATIONS:
        raise BadInput(f"{count} operations in one command; {MAX_OPERATIONS} at most")
