"""The gateway on real sockets.

Off loopback it speaks mutual TLS or does not open, like every door (``runtime/real/network.py``).
"""

import asyncio
import resource
import socket
from dataclasses import replace
from typing import cast

from quorate.base.ids import Address
from quorate.gateways.resp.connection import STALL_MS, RespConnection
from quorate.gateways.resp.gateway import Gateway, RespSettings
from quorate.kv.figures import DoorFigures
from quorate.kv.service import KvService
from quorate.runtime.ports import World
from quorate.runtime.real.network import open_server
from quorate.runtime.real.tls import TlsPaths, tls_contexts

HIGH_WATER_BYTES = 64 << 10
"""Of answers that have not left; then the connection waits."""
SPARE_FILES = 512
"""For everything that is no client."""
FULL = b"-ERR max number of clients reached\r\n"


class RespDoor:
    """An open door; ``close`` shuts it, and drops who came through it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._server: asyncio.Server | None = None

    async def open(self, address: Address, tls: TlsPaths | None) -> None:
        contexts = tls_contexts(tls) if tls is not None else None
        self._server = await open_server(address, lambda: _Socket(self.gateway), contexts)
        self.gateway.port = self._server.sockets[0].getsockname()[1]

    def figures(self) -> DoorFigures:
        return self.gateway.figures()

    @property
    def port(self) -> int:
        return self.gateway.port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.gateway.connections.values()):
            connection.drop()


async def start_resp(
    world: World,
    service: KvService,
    address: Address,
    tls: TlsPaths | None,
    settings: RespSettings,
) -> RespDoor:
    """Open the door at ``address``; raises ``BadConfiguration`` if that cannot be."""
    door = RespDoor(Gateway(world, service, within_files(settings)))
    await door.open(address, tls)
    return door


def within_files(settings: RespSettings) -> RespSettings:
    """Let this process have a file for each client and some to spare, and where it may not have so
    many, take fewer clients: who cannot open a file for its log is lost, and all clients with it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_clients + SPARE_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return replace(settings, max_clients=max(1, allowed - SPARE_FILES))


class _Socket(asyncio.Protocol):
    """What asyncio drives: the transport of one connection."""

    __slots__ = ("_connection", "_deadline", "_gateway", "_transport")

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._connection: RespConnection | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        name = transport.get_extra_info("peername")
        peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else ""
        connection = RespConnection(self._gateway, self, peer)
        if self._gateway.admit(connection):
            self._connection = connection
        else:
            self.write(FULL)
            self.close()

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.feed(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.stalled()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._connection is not None:
            self._connection.closed()

    # What the connection calls.

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._transport.close()
        if self._transport.get_write_buffer_size():
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(STALL_MS / 1000, self.abort)

    def abort(self) -> None:
        self._transport.abort()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()
