"""The twins of the store's client for programs that do not await (library/background.py)."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from quorate.base.errors import Fenced
from quorate.kv.client import KvClient
from quorate.kv.lock import Lock
from quorate.kv.messages import ViewOpened
from quorate.kv.transaction import Bytes, Token
from quorate.kv.viewing import View
from quorate.kv.watching import Watching
from quorate.library.background import Twin, blocking, iterating


class BlockingWatch(Twin[Watching]):
    """``Watching``, for a plain ``for``."""

    events = blocking(Watching.events)
    __next__ = blocking(Watching.__anext__)

    def __iter__(self) -> Self:
        return self

    @property
    def revision(self) -> int:
        """As ``Watching.revision``."""
        return self._original.revision


class BlockingLock(Twin[Lock]):
    """``Lock``, for a plain ``with``.

    Nothing interrupts a thread: who loses the lock goes on until it looks at ``is_lost``, or is
    told by ``on_lost`` (in another thread); leaving ``with`` then raises ``Fenced``.
    """

    acquire = blocking(Lock.acquire)
    release = blocking(Lock.release)

    @property
    def is_lost(self) -> bool:
        """As ``Lock.is_lost``."""
        return self._original.is_lost

    def __enter__(self) -> Token:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
        if self.is_lost and kind is None:
            raise Fenced("the lock was lost while it was held: another may have had it meanwhile")


class BlockingView(Twin[View]):
    """``View``; ``close`` it when it is not read any more."""

    pieces = iterating(View.pieces)
    close = blocking(View.close)

    @property
    def opened(self) -> ViewOpened:
        """As ``View.opened``."""
        return self._original.opened


class BlockingKv(Twin[KvClient]):
    """``KvClient``, without ``await``."""

    get = blocking(KvClient.get)
    put = blocking(KvClient.put)
    delete = blocking(KvClient.delete)
    append = blocking(KvClient.append)
    increment = blocking(KvClient.increment)
    compare_and_set = blocking(KvClient.compare_and_set)
    put_if_revision = blocking(KvClient.put_if_revision)
    expire = blocking(KvClient.expire)
    persist = blocking(KvClient.persist)
    ttl = blocking(KvClient.ttl)
    get_many = blocking(KvClient.get_many)
    put_many = blocking(KvClient.put_many)
    commit = blocking(KvClient.commit)
    perform = blocking(KvClient.perform)
    clear = blocking(KvClient.clear)
    page = blocking(KvClient.page)
    pages = iterating(KvClient.pages)
    scan = iterating(KvClient.scan)
    statistics = blocking(KvClient.statistics)
    _watch = blocking(KvClient.watch)
    _view = blocking(KvClient.view)

    def within(self, timeout_s: float) -> "BlockingKv":
        """As ``KvClient.within``."""
        return BlockingKv(self._original.within(timeout_s), self._background)

    def watch(
        self,
        key: Bytes | None = None,
        *,
        prefix: Bytes = b"",
        start: Bytes | None = None,
        end: Bytes | None = None,
        since: int | None = None,
    ) -> BlockingWatch:
        """As ``KvClient.watch``."""
        watching = self._watch(key, prefix=prefix, start=start, end=end, since=since)
        return BlockingWatch(watching, self._background)

    def view(self) -> BlockingView:
        """As ``KvClient.view``."""
        return BlockingView(self._view(), self._background)

    def lock(
        self,
        name: Bytes,
        *,
        ttl_s: float = 10.0,
        wait_s: float | None = None,
        on_lost: Callable[[], object] | None = None,
    ) -> BlockingLock:
        """As ``KvClient.lock``."""
        lock = self._original.lock(name, ttl_s=ttl_s, wait_s=wait_s, on_lost=on_lost)
        return BlockingLock(lock, self._background)
