"""The key/value map: the state machine (the course's lab 3).

Rules, beside those of ``commands.py``, ``items.py`` and ``history.py``:
* An operation is looked at whole before it changes anything; what it refuses, it leaves.
* A transaction that is to be *whole* notes what it changes, and puts it back where an operation
  after that is refused.  Its events are told only when it is done.
* What an operation reads, writes and gives is work, and a command that has done too much of it
  refuses the operations that are left.
* Nothing takes long: a bounded number of keys goes with one entry because their time has come (the
  others are not there either, only not taken away yet), and what ``Clear`` leaves behind is let go
  of a little at a time.  What is left to do is due at once (``next_deadline_ms``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from quorate.base.codec import UNREADABLE
from quorate.base.errors import BadInput, Overloaded, QuorateError
from quorate.base.frozen import FreezableMap
from quorate.base.machine import Meta, TypedMachine
from quorate.kv.core import snapshot
from quorate.kv.core.commands import (
    MAX_OPERATIONS,
    MAX_WORK_BYTES,
    AnyOperation,
    Apply,
    AskStatistics,
    Changed,
    Changes,
    Condition,
    Entry,
    HasRevision,
    HasValue,
    Limit,
    Look,
    LookUp,
    Page,
    Put,
    Range,
    Refusal,
    Stage,
    Statistics,
    Transact,
    Transacted,
)
from quorate.kv.core.foreseen import refused
from quorate.kv.core.history import MAX_EVENTS
from quorate.kv.core.items import Table
from quorate.kv.core.looks import LOOKS, page
from quorate.kv.core.operations import CHANGES
from quorate.kv.core.state import State


class Store(TypedMachine):
    """Keys and values, with everything that this folder's modules say of them."""

    commands = (Apply, Transact, Stage, Limit)
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

    def execute(self, meta: Meta, command: Apply | Transact | Stage | Limit) -> object:
        state = self.state
        state.begin_command()
        try:
            match command:
                case Apply(operations):
                    _refuse_many(len(operations))
                    return self._put_all(operations) or self._perform(operations)
                case Transact():
                    return self._transact(command)
                case Stage():
                    return state.stage(command)
                case Limit(max_bytes, restricted):
                    state.limit(max_bytes, restricted)
                    return None
        finally:
            state.end()

    def _put_all(self, operations: Sequence[AnyOperation]) -> list[object] | None:
        """``_perform`` if all of them are plain puts: what nearly all commands are."""
        if set(map(type, operations)) != {Put}:
            return None
        puts = cast(Sequence[Put], operations)
        revisions = self.state.write_all([put.key for put in puts], [put.value for put in puts])
        return list(revisions) if revisions is not None else None

    def _perform(self, operations: Sequence[AnyOperation], *, whole: bool = False) -> list[object]:
        """In order, each by itself; ``whole``: raise the error that refuses one."""
        state, replies = self.state, list[object]()
        for operation in operations:
            try:
                if state.work_left < 0:
                    raise Overloaded(f"more than {MAX_WORK_BYTES} bytes of values in one command")
                reply = _OPERATIONS[type(operation)](state, operation)
            except QuorateError as error:
                if whole:
                    raise
                reply = Refusal(error.code, error.message)
            if type(reply) is not int:
                state.work_left -= _weight(reply)
            replies.append(reply)
        return replies

    def _transact(self, it: Transact) -> Transacted:
        _refuse_many(len(it.conditions) + len(it.then) + len(it.otherwise))
        held = all(map(self._holds, it.conditions))
        operations = it.then if held else it.otherwise
        self.state.begin(whole=it.whole)
        try:
            replies = self._perform(operations, whole=it.whole)
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

    def refused(self, commands: Sequence[bytes], time_ms: int) -> list[bytes] | None:
        """The outcomes of encoded ``commands`` if all would surely be refused (foreseen.py)."""
        try:
            return refused(self.state, [self._commands.decode(raw) for raw in commands], time_ms)
        except UNREADABLE:
            return None

    # Queries.

    def answer(self, query: LookUp | Range | Changes | AskStatistics) -> object:
        match query:
            case LookUp(operations):
                _refuse_many(len(operations))
                return self.look_up(operations)
            case Range():
                return self.page(query)
            case Changes():
                return self.changes(query)
            case AskStatistics():
                return self.statistics()

    def look(self, operation: Look) -> object:
        """The reply of an operation that only reads."""
        return LOOKS[type(operation)](self.state, operation)

    def look_up(self, operations: Sequence[Look]) -> list[object]:
        """The same of several."""
        replies, left = list[object](), MAX_WORK_BYTES
        for operation in operations:
            if left < 0:
                raise BadInput(f"an answer of more than {MAX_WORK_BYTES} bytes: ask for less")
            reply = self.look(operation)
            left -= _weight(reply)
            replies.append(reply)
        return replies

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
            state.total_bytes,
            state.history.forgotten,
            state.items.with_end,
            state.max_bytes,
            state.restricted,
        )

    # What a replica asks.

    def snapshot(self) -> Iterator[bytes]:
        return snapshot.write(self.state)

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        state = self._make_state()
        yield from snapshot.read(stream, state)
        before, self.state = self.state, state
        yield from before.let_go()

    def digest(self) -> int:
        return self.state.digest()

    def next_deadline_ms(self) -> int | None:
        return self.state.next_deadline_ms()


def in_memory() -> Table:
    """An empty table."""
    table: FreezableMap[bytes, Entry] = FreezableMap()
    return table


_OPERATIONS = CHANGES | LOOKS


def _weight(reply: object) -> int:
    """The bytes of values in it."""
    if type(reply) is bytes:
        return len(reply)
    if type(reply) is list:
        return sum([len(part) for part in reply if type(part) is bytes])
    return 0


def _refuse_many(count: int) -> None:
    if count > MAX_OPERATIONS:
        raise BadInput(f"{count} operations in one command; {MAX_OPERATIONS} at most")
