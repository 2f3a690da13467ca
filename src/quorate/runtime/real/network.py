"""Frames over TCP: a length of four bytes, big-endian, and that many bytes.

Receiving works in batches.  Small frames gather in one buffer that is reused; all that are whole
after a read are copied out once, together, and handed over as views of that copy.  A large frame
gets memory of its own and is received straight into it.  Sending hands a whole batch to the
transport at once; small pieces are joined, large ones are not copied.

An address off loopback needs mutual TLS on both sides, and is refused without it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from struct import Struct
from typing import cast

from quorate.base.errors import (
    BadConfiguration,
    BadInput,
    ProtocolError,
    Unavailable,
)
from quorate.base.ids import Address
from quorate.runtime.ports import Buffer, Certificate, Connection, Frame, FrameReceiver, Listener
from quorate.runtime.real.tls import TlsContexts, certificate_of

_LENGTH = Struct(">I")
_HEADER_BYTES = _LENGTH.size
_BUFFER_BYTES = 64 << 10
_LARGE_BYTES = _BUFFER_BYTES // 2
"""A frame above this gets memory of its own; a piece above this is not joined with others."""
_HIGH_WATER_BYTES = 1 << 20
_BACKLOG = 512
_PORT_DIGITS = 5
_SHOWN_CHARACTERS = 100
_VANISHED_MS = 10_000
"""A connection ends when what was sent has not been acknowledged for so long."""


class RealConnection(asyncio.BufferedProtocol):
    """One end of a connection: the protocol that asyncio drives and the port's ``Connection``."""

    def __init__(
        self,
        receiver: FrameReceiver,
        max_frame_bytes: int,
        peer: str = "",
        owner: dict[RealConnection, None] | None = None,
    ) -> None:
        """``peer`` is learnt from the socket if empty; ``owner`` holds what is open."""
        self.max_frame_bytes = max_frame_bytes
        self._owner = owner if owner is not None else {}
        self._receiver = receiver
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._large: bytearray | None = None
        self._large_filled = 0
        self.ended = asyncio.Event()
        """Set when the transport is gone."""
        self._writable = asyncio.Event()
        self._writable.set()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        if not self._peer:
            name = transport.get_extra_info("peername")
            self._peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a peer"
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # A machine that vanished acknowledges nothing; the default is to try for 15 minutes.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_MS)
        self._owner[self] = None
        self._receiver.connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._large is not None:
            return memoryview(self._large)[self._large_filled :]
        return self._view[self._filled :] if self._filled else self._view

    def buffer_updated(self, nbytes: int) -> None:
        if self._large is None:
            self._filled += nbytes
            self._parse()
            return
        self._large_filled += nbytes
        if self._large_filled == len(self._large):
            frame, self._large = self._large, None
            self._hand_over([memoryview(frame)])

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return  # ``abandon`` has said so
        self._transport = None
        self._owner.pop(self, None)
        self._writable.set()
        error = self._error
        if error is None and exc is not None:
            error = Unavailable(f"the connection to {self._peer} broke: {exc}")
        self.ended.set()
        self._receiver.disconnected(error)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _parse(self) -> None:
        """Hand over the whole frames of the buffer and make room for the rest."""
        view, filled = self._view, self._filled
        position = 0
        if filled > _HEADER_BYTES:
            length: int = _LENGTH.unpack_from(view, 0)[0]
            if 0 < length == filled - _HEADER_BYTES <= self.max_frame_bytes:
                # What most reads bring: one frame, and all of it.
                self._filled = 0
                self._hand_over([memoryview(bytes(view[_HEADER_BYTES:filled]))])
                return
        # Again after each batch: its receiver may have changed the limit.
        while spans := self._whole_frames(position):
            first, end = spans[0][0], spans[-1][1]
            batch = memoryview(bytes(view[first:end]))
            self._hand_over([batch[start - first : stop - first] for start, stop in spans])
            position = end
        self._filled = 0
        start = position + _HEADER_BYTES
        if start <= filled:
            length = _LENGTH.unpack_from(view, position)[0]
            if not 0 < length <= self.max_frame_bytes:
                self._break(length)
                return
            if length > _LARGE_BYTES:
                self._large = bytearray(length)
                self._large_filled = filled - start
                self._large[: self._large_filled] = view[start:filled]
                return
        if position < filled:
            self._filled = filled - position
            view[: self._filled] = bytes(view[position:filled])

    def _whole_frames(self, position: int) -> list[tuple[int, int]]:
        """Where the bodies stand in the buffer, up to the first frame that is not whole or not
        allowed."""
        view, filled, limit = self._view, self._filled, self.max_frame_bytes
        spans: list[tuple[int, int]] = []
        while (start := position + _HEADER_BYTES) <= filled:
            length: int = _LENGTH.unpack_from(view, position)[0]
            position = start + length
            if position > filled or not 0 < length <= limit:
                break
            spans.append((start, position))
        return spans

    def _hand_over(self, frames: list[memoryview]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._receiver.frames_received(frames)

    def _break(self, length: int) -> None:
        if self._transport is not None and self._error is None:
            self._error = ProtocolError(
                f"{self._peer} sent a frame of {length} bytes; "
                f"1 to {self.max_frame_bytes} are allowed here"
            )
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, whatever has not left."""
        if self._transport is not None:
            self._transport.abort()

    def abandon(self) -> None:
        """Connecting was given up.  If that came after ``connection_made``, uvloop closes the
        transport and tells nobody; ``RealNetwork.close`` would wait for its end for ever."""
        if self._transport is not None:
            self._transport.abort()
            self.connection_lost(None)

    # What the owner calls.

    @property
    def peer(self) -> str:
        return self._peer

    def send(self, frames: Sequence[Frame]) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if len(frames) == 1 and len(frames[0]) == 1 and _size(frames[0][0]) <= _LARGE_BYTES:
            [[piece]] = frames  # an answer, mostly
            transport.write(_LENGTH.pack(_size(piece)) + piece)
            return
        pieces: list[Buffer] = []
        small: list[Buffer] = []
        for frame in frames:
            if len(frame) == 1 and (size := _size(frame[0])) <= _LARGE_BYTES:
                small.append(_LENGTH.pack(size))
                small.append(frame[0])
                continue
            small.append(_LENGTH.pack(sum(map(_size, frame))))
            for piece in frame:
                if _size(piece) <= _LARGE_BYTES:
                    small.append(piece)
                else:
                    pieces.append(b"".join(small))
                    pieces.append(piece)
                    small = []
        if small:
            pieces.append(b"".join(small))
        if len(pieces) == 1:
            transport.write(pieces[0])
        else:  # one system call on uvloop, where each write is one
            transport.writelines(pieces)

    @property
    def certificate(self) -> Certificate | None:
        transport = self._transport
        shown = None if transport is None else transport.get_extra_info("peercert")
        return None if shown is None else certificate_of(shown)

    def buffered_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def drain(self) -> None:
        await self._writable.wait()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _size(piece: Buffer) -> int:
    return len(piece) if isinstance(piece, bytes) else memoryview(piece).nbytes


class RealListener:
    """A listening socket."""

    def __init__(self, server: asyncio.Server, address: Address) -> None:
        self._server = server
        self._address = address

    @property
    def address(self) -> Address:
        return self._address

    def close(self) -> None:
        self._server.close()


class RealNetwork:
    """The network port."""

    def __init__(self, tls: TlsContexts | None = None) -> None:
        self._tls = tls
        self._connections: dict[RealConnection, None] = {}
        self._servers: list[asyncio.Server] = []

    async def listen(
        self, address: Address, accept: Callable[[], FrameReceiver], max_frame_bytes: int
    ) -> Listener:
        server = await open_server(
            address,
            lambda: RealConnection(accept(), max_frame_bytes, owner=self._connections),
            self._tls,
        )
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return RealListener(server, Address(f"{address.rpartition(':')[0]}:{port}"))

    async def connect(
        self, address: Address, receiver: FrameReceiver, max_frame_bytes: int, timeout_ms: float
    ) -> Connection:
        try:
            host, port = _allowed(address, self._tls)
        except BadInput as error:  # addresses come over the network, too
            raise Unavailable(f"cannot connect: {error.message}") from error
        connection = RealConnection(receiver, max_frame_bytes, address, self._connections)
        connected = False
        try:
            async with asyncio.timeout(timeout_ms / 1000.0):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    host,
                    port,
                    ssl=None if self._tls is None else self._tls.client,
                )
                connected = True
                return connection
        except TimeoutError:
            raise Unavailable(
                f"no connection to {address} within {timeout_ms:.0f} ms: "
                "see whether that machine runs and can be reached"
            ) from None
        except OSError as error:
            if isinstance(error, ConnectionRefusedError):
                raise Unavailable(
                    f"nobody listens at {address}: see whether that process runs"
                ) from error
            raise Unavailable(f"cannot connect to {address}: {error}") from error
        finally:
            if not connected:
                connection.abandon()

    async def close(self) -> None:
        """Stop listening, and drop all connections without waiting for what has not left."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        for connection in list(self._connections):
            await connection.ended.wait()


def _allowed(address: Address, tls: TlsContexts | None) -> tuple[str, int]:
    host, port = split_address(address)
    if tls is None and not is_loopback(host):
        raise BadConfiguration(
            f"the address {address} is not on loopback, so it needs mutual TLS: "
            "give the paths ca, cert and key in [tls]"
        )
    return host, port


async def open_server(
    address: Address, protocol: Callable[[], asyncio.BaseProtocol], tls: TlsContexts | None
) -> asyncio.Server:
    """Accept connections at ``address``; raises ``BadConfiguration`` if it is taken, or is off
    loopback without mutual TLS."""
    host, port = _allowed(address, tls)
    try:
        return await asyncio.get_running_loop().create_server(
            protocol, host, port, ssl=None if tls is None else tls.server, backlog=_BACKLOG
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadConfiguration(
                f"the address {address} is taken by another process: "
                "stop it, or choose another port"
            ) from error
        raise BadConfiguration(f"cannot listen at {address}: {error.strerror or error}") from error


def split_address(address: Address) -> tuple[str, int]:
    """Host and port of ``host:port`` (``[host]:port`` for IPv6); raises ``BadInput``."""
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    is_number = port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS
    if not separator or not _is_host(host) or not is_number or int(port) > 65_535:
        shown = ascii(address[:_SHOWN_CHARACTERS])
        raise BadInput(f"{shown} is not an address: write HOST:PORT, such as 127.0.0.1:7400")
    return host, int(port)


def _is_host(host: str) -> bool:
    """Whether ``host`` can be given to a resolver, which raises other than ``OSError`` on some."""
    try:
        return 0 not in host.encode("idna") and bool(host)
    except UnicodeError:
        return False


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
