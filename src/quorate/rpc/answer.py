"""Answers that come in a later turn, without what a future costs: two callbacks of the loop."""

import asyncio
from math import inf
from typing import Any, Protocol

from quorate.base.errors import QuorateError


class _Waits(Protocol):
    """What an ``Answer`` goes to."""

    def claim(self, number: int) -> bool: ...

    def reply(self, call_id: int, request: type[Any], result: object) -> None: ...

    def reply_error(self, call_id: int, request: type[Any], error: BaseException) -> None: ...


class _Waiting:
    """Awaits an ``Answer`` where a coroutine must."""

    def __init__(self) -> None:
        self.future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def claim(self, number: int) -> bool:
        return not self.future.done()

    def reply(self, call_id: int, request: type[Any], result: object) -> None:
        self.future.set_result(result)

    def reply_error(self, call_id: int, request: type[Any], error: BaseException) -> None:
        self.future.set_exception(error)


class Answer:
    """What a handler returns that will answer in a later turn: a future without its costs.

    Whoever has it calls ``resolve`` or ``fail``, once, and in no case within the handler.  What
    comes after the end of the connection is dropped here; by the caller, or where its place was
    needed for another call, what comes after its deadline.
    """

    __slots__ = ("_call_id", "_connection", "_number", "_request", "due_ms")

    _connection: _Waits
    _number: int
    _call_id: int
    _request: type[Any]
    due_ms: float
    """When its caller gives up, by the monotonic clock."""

    def bind(
        self,
        connection: _Waits,
        number: int,
        call_id: int,
        request: type[Any],
        due_ms: float = inf,
    ) -> None:
        """The call that waits for it."""
        self.due_ms = due_ms
        self._connection, self._number = connection, number
        self._call_id, self._request = call_id, request

    def awaited(self) -> "asyncio.Future[object]":
        """The same as a future, where a coroutine must wait for it."""
        waiting = _Waiting()
        self.bind(waiting, 0, 0, object)
        return waiting.future

    def resolve(self, value: object) -> None:
        if self._connection.claim(self._number):
            self._connection.reply(self._call_id, self._request, value)

    def fail(self, error: QuorateError) -> None:
        if self._connection.claim(self._number):
            self._connection.reply_error(self._call_id, self._request, error)
