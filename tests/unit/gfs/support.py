"""Driving a namespace by hand: commands in, values or errors out, invariants checked each time."""

from typing import Any

from quorate.base.codec import Command, Query, encode, reply_type, result_of
from quorate.base.errors import QuorateError
from quorate.base.machine import Meta, restore_all
from quorate.gfs.core.commands import AllocateChunks, CreateFile, Entry, List, Mkdir, Stat
from quorate.gfs.core.invariants import check_state, check_step
from quorate.gfs.core.namespace import Namespace

BLOCK = 64 * 1024


def copy_of(namespace: Namespace) -> Namespace:
    """The same state, by way of a snapshot."""
    other = Namespace()
    restore_all(other, namespace.snapshot())
    return other


class Driver:
    """One namespace and the log time that its commands carry."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.index = 0
        self.time_ms = 1_000

    def do(self, command: Command[Any]) -> Any:
        """Apply one command; raises its error, having seen that it changed nothing."""
        before = copy_of(self.namespace)
        before.expire(self._meta())
        digest = before.digest()
        self.index += 1
        (outcome,) = self.namespace.apply_batch(self._meta(), [encode(command)])
        check_state(self.namespace)
        check_step(before, self.namespace)
        try:
            return result_of(outcome, reply_type(type(command)))
        except QuorateError:
            assert self.namespace.digest() == digest, f"{command} was refused and changed something"
            raise

    def tick(self, time_ms: int) -> None:
        """Let log time pass."""
        self.time_ms = time_ms
        self.index += 1
        assert self.namespace.apply_batch(self._meta(), []) == []
        check_state(self.namespace)

    def ask(self, query: Query[Any]) -> Any:
        return result_of(self.namespace.query(encode(query)), reply_type(type(query)))

    def _meta(self) -> Meta:
        return Meta(self.index, 1, self.time_ms)

    # Shorthand.

    def handles(self, count: int) -> list[int]:
        first = self.do(AllocateChunks(count)).first
        return list(range(first, first + count))

    def create(self, path: str, size: int = 1, **more: Any) -> list[int]:
        """A file of new chunks of 64 KiB; gives their handles."""
        count = -(-size // BLOCK)
        handles = self.handles(count) if count else []
        self.do(CreateFile(path, size, BLOCK, handles, **more))
        return handles

    def mkdir(self, path: str, parents: bool = True) -> None:
        self.do(Mkdir(path, parents))

    def stat(self, path: str) -> Entry:
        entry: Entry = self.ask(Stat(path))
        return entry

    def paths(self, path: str = "/") -> list[str]:
        """Everything below ``path``, in the order of a recursive listing."""
        found: list[str] = []
        more = True
        while more:
            page = self.ask(List(path, found[-1] if found else "", recursive=True))
            found += [entry.path for entry in page.entries]
            more = page.more
        return found
