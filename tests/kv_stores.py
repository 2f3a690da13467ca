"""A store of keys and values, driven as a group would, its invariants checked all the while."""

from collections.abc import Callable
from typing import Any

from quorate.base.codec import encode, reply_type, result_of
from quorate.base.machine import Meta, restore_all
from quorate.kv.core.commands import (
    AnyOperation,
    Apply,
    Condition,
    Limit,
    Page,
    Range,
    Refusal,
    Stage,
    Transact,
    Transacted,
)
from quorate.kv.core.history import MAX_EVENTS
from quorate.kv.core.invariants import check_state, check_step
from quorate.kv.core.items import Table
from quorate.kv.core.store import Store, in_memory

START_MS = 1_000_000


class Driven:
    """One replica."""

    def __init__(
        self, make_table: Callable[[], Table] = in_memory, max_events: int = MAX_EVENTS
    ) -> None:
        self.make_table = make_table
        self.max_events = max_events
        self.store = Store(make_table, max_events)
        self.index = 0
        self.time_ms = START_MS

    def entry(self, *commands: Any) -> list[bytes]:
        """One entry of the log."""
        self.index += 1
        state = self.store.state
        before = (state.revision, state.time_ms)
        meta = Meta(self.index, 1, self.time_ms)
        replies = self.store.apply_batch(meta, [encode(command) for command in commands])
        check_state(self.store.state)
        check_step(before, self.store.state)
        return replies

    def command(self, command: Any) -> Any:
        (reply,) = self.entry(command)
        return result_of(reply, reply_type(type(command)))

    def do(self, *operations: AnyOperation) -> list[Any]:
        replies: list[Any] = self.command(Apply(list(operations)))
        return replies

    def one(self, operation: AnyOperation) -> Any:
        return self.do(operation)[0]

    def refused(self, operation: AnyOperation) -> str:
        """The code with which the operation is refused; nothing is changed by it."""
        digest = self.store.state.items.digest, self.store.state.revision
        (reply,) = self.entry(Apply([operation]))
        refusal = result_of(reply, list[Refusal])[0]
        assert digest == (self.store.state.items.digest, self.store.state.revision)
        code: str = refusal.code
        return code

    def transact(
        self,
        conditions: list[Condition],
        then: list[AnyOperation],
        otherwise: list[AnyOperation] | None = None,
        *,
        whole: bool = True,
    ) -> Transacted:
        done: Transacted = self.command(Transact(conditions, then, otherwise or [], whole))
        return done

    def stage(self, upload: int, offset: int, data: bytes) -> int:
        there: int = self.command(Stage(upload, offset, data))
        return there

    def limit(self, max_bytes: int, restricted: str = "") -> None:
        self.command(Limit(max_bytes, restricted))

    def tick(self, ms: int = 0) -> None:
        self.time_ms += ms
        self.entry()

    def query(self, query: Any) -> Any:
        return result_of(self.store.query(encode(query)), reply_type(type(query)))

    def content(self) -> dict[bytes, bytes]:
        """All keys that are there, as a client would read them."""
        found: dict[bytes, bytes] = {}
        start: bytes | None = b""
        while start is not None:
            page: Page = self.query(Range(start, None, 7))
            found |= {entry.key: entry.value for entry in page.entries}
            start = page.more
        return found

    def copy(self) -> "Driven":
        """A replica that begins with a snapshot of this one."""
        other = Driven(self.make_table, self.max_events)
        restore_all(other.store, self.store.snapshot())
        other.index, other.time_ms = self.index, self.time_ms
        check_state(other.store.state)
        return other
