"""Asynchronous code for those who do not await: one loop in one thread, and twins of classes.

A twin has the same methods with the same signatures; each runs its original in the loop and waits:

    class BlockingKv(Twin[KvClient]):
        get = blocking(KvClient.get)

The types are those of the originals, so that editors and mypy see them.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from quorate.base.errors import BadInput
from quorate.runtime.real.loop import new_loop

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")


class Background:
    """A loop that runs in a thread of its own until ``close``."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._serve, name="quorate", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Wait for ``work`` in the thread; what interrupts the wait cancels it."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            work.close()
            raise BadInput(
                "this was called from a callback of its own, or after it was closed: a blocking"
                " call needs a thread that may wait, and an open connection"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


class Twin(Generic[A]):
    """Base of all: the original, and where it runs."""

    def __init__(self, original: A, background: Background) -> None:
        self._original = original
        self._background = background


def blocking(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Twin[A], P], R]:
    """The twin of a method that is awaited."""

    @functools.wraps(method)
    def call(self: Twin[A], /, *arguments: P.args, **named: P.kwargs) -> R:
        return self._background.run(method(self._original, *arguments, **named))

    return call


def iterating(
    method: Callable[Concatenate[A, P], AsyncIterator[R]],
) -> Callable[Concatenate[Twin[A], P], Iterator[R]]:
    """The twin of a method that gives an asynchronous iterator."""

    @functools.wraps(method)
    def call(self: Twin[A], /, *arguments: P.args, **named: P.kwargs) -> Iterator[R]:
        items = method(self._original, *arguments, **named)
        while (item := self._background.run(_next(items))) is not None:
            yield item

    return call


async def _next(items: AsyncIterator[R]) -> R | None:
    return await anext(items, None)


class Opening(Generic[A, B]):
    """For ``async with``, which gives the ``A``, or for ``with``, which gives its twin, a ``B``.

    ``open`` and ``close`` do the same as ``with``, for notebooks.
    """

    def __init__(
        self,
        make: Callable[[], AbstractAsyncContextManager[A]],
        twin: Callable[[A, Background], B],
    ) -> None:
        self._make = make
        self._twin = twin
        self._inner: AbstractAsyncContextManager[A] | None = None
        self._background: Background | None = None

    async def __aenter__(self) -> A:
        self._inner = self._make()
        return await self._inner.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.__aexit__(kind, error, traceback)

    def open(self) -> B:
        """What ``with`` gives; call ``close`` at the end."""
        background = self._background = Background()
        try:
            return self._twin(background.run(self.__aenter__()), background)
        except BaseException:
            background.close()
            raise

    def close(self) -> None:
        """End what ``open`` began; again has no effect."""
        background, self._background = self._background, None
        if background is not None:
            try:
                background.run(self.__aexit__(None, None, None))
            finally:
                background.close()

    def __enter__(self) -> B:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
