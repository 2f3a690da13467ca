"""A plain Redis client, as small as one can be: one connection, RESP2, and nothing is repeated.

What was sent and not answered may have been done, so the connection knows whether that is so.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import TypeAlias

from quorate.base.errors import ProtocolError
from quorate.base.ids import Address

MAX_BYTES = 1 << 20
"""Of one line, and of one value."""
MAX_ITEMS = 1_000
LOST = (OSError, EOFError, TimeoutError)
"""How a connection ends."""

Words: TypeAlias = Sequence[str | int]
Answer: TypeAlias = "bytes | int | list[Answer] | Refused | None"


class Refused(str):
    """An error answer: its line."""

    __slots__ = ()


class RespConnection:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.unsure = False
        """Something was sent that may change a key, and is not wholly answered."""

    @classmethod
    async def open(cls, address: Address, tls: ssl.SSLContext | None) -> "RespConnection":
        """Raises one of ``LOST``."""
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port), ssl=tls, limit=MAX_BYTES))

    def close(self) -> None:
        """At once, whatever has not left."""
        self._writer.transport.abort()

    async def do(self, *commands: Words, changes: bool = False) -> list[Answer]:
        """The answers to ``commands``, which are sent in one go.

        Raises one of ``LOST``, and ``ProtocolError`` for what is no RESP.
        """
        self.unsure = changes
        self._writer.write(b"".join(map(packed, commands)))
        try:
            answers = [await self._answer() for _ in commands]
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise ProtocolError(f"The gateway answered what is no RESP: {error}.") from error
        self.unsure = False
        return answers

    async def _answer(self) -> Answer:
        line = await self._reader.readuntil(b"\r\n")
        kind, text = line[:1], line[1:-2]
        if kind == b"+":
            return text
        if kind == b"-":
            return Refused(text.decode(errors="replace"))
        size = int(text)
        if kind == b":":
            return size
        if kind in (b"$", b"*") and size == -1:
            return None
        if kind == b"$" and 0 <= size <= MAX_BYTES:
            return (await self._reader.readexactly(size + 2))[:-2]
        if kind == b"*" and 0 <= size <= MAX_ITEMS:
            return [await self._answer() for _ in range(size)]
        raise ValueError(f"{line[:100]!r}")


def packed(words: Words) -> bytes:
    """A command as it is sent."""
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)
