"""What a call between two processes costs: calls per second and CPU on both sides, over loopback.

    python bench/rpc.py [SECONDS]

Requests and replies carry 200 bytes.  "value", "future" and "coroutine" are the three ways in which
a handler may answer.  Bulk moves payloads of 1 MiB.  Each side measures its own CPU time.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from quorate.base.codec import Request
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Bulk, Call, RpcServer
from quorate.runtime.real.world import TlsPaths, close_world, real_world, run
from quorate.torture.hosts import make_certificate

CLUSTER = ClusterId("b" * 32)
DATA = bytes(200)
BLOCK = bytes(1 << 20)


class Echo(Request[bytes], tag="bench.echo.1"):
    data: bytes
    way: str


class Used(Request[float], tag="bench.used.1"):
    """Seconds of CPU the server has used."""


class Store(Request[int], tag="bench.store.1"):
    pass


class Fetch(Request[int], tag="bench.fetch.1"):
    pass


def echo(request: Echo, call: Call) -> object:
    if request.way == "value":
        return request.data
    if request.way == "coroutine":
        return later(request.data)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()
    loop.call_soon(future.set_result, request.data)
    return future


async def later(data: bytes) -> bytes:
    await asyncio.sleep(0)
    return data


async def serve(folder: Path, tls: TlsPaths | None) -> None:
    world = real_world(folder / "server", tls=tls)
    server = RpcServer(
        world,
        Identity(CLUSTER, NodeId(1), "raft"),
        {
            Echo: echo,
            Used: lambda request, call: time.process_time(),
            Store: lambda request, call: len(call.payload),
            Fetch: lambda request, call: Bulk(len(BLOCK), [BLOCK]),
        },
    )
    listener = await server.start(Address("127.0.0.1:0"))
    print(listener.address, flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the client's end of the pipe closes
    await server.close()
    await close_world(world)


async def repeat(concurrent: int, seconds: float, one: Callable[[], Awaitable[object]]) -> int:
    """How often ``one`` ended within ``seconds``, ``concurrent`` at a time."""
    done = 0
    end = time.perf_counter() + seconds

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await one()
            done += 1

    await asyncio.gather(*(loop() for _ in range(concurrent)))
    return done


async def measure(folder: Path, tls: TlsPaths | None, seconds: float) -> None:
    mode = "plain" if tls is None else "tls"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "serve",
        mode,
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the server has no pipes")
    address = Address((await child.stdout.readline()).decode().strip())
    world = real_world(folder / "client", tls=tls)
    client = RpcClient(world, Identity(CLUSTER, NodeId(2), "client"))

    async def case(name: str, concurrent: int, one: Callable[[], Awaitable[object]]) -> None:
        await repeat(concurrent, seconds / 10, one)
        server = await client.call(address, Used(), timeout_ms=10_000)
        here, began = time.process_time(), time.perf_counter()
        done = await repeat(concurrent, seconds, one)
        passed, here = time.perf_counter() - began, time.process_time() - here
        server = await client.call(address, Used(), timeout_ms=10_000) - server
        print(
            f"{mode:5}  {name:18} {concurrent:4} {done / passed:11,.0f} "
            f"{server / done * 1e6:9.1f} {here / done * 1e6:9.1f}"
        )

    for concurrent in (1, 64):
        for way in ("value", "future", "coroutine"):
            call = partial(client.call, address, Echo(DATA, way), timeout_ms=9000)
            await case(way, concurrent, call)
    await case(
        "1 MiB to server", 4, lambda: client.call_bulk(address, Store(), [BLOCK], timeout_ms=9000)
    )
    await case("1 MiB to client", 4, lambda: client.call_bulk(address, Fetch(), timeout_ms=9000))
    await client.close()
    await close_world(world)
    child.stdin.close()
    await child.wait()


def main() -> None:
    """Both modes, one table."""
    if sys.argv[1:2] == ["serve"]:
        folder = Path(sys.argv[3])
        paths = TlsPaths(folder / "cert", folder / "cert", folder / "key")
        run(lambda: serve(folder, paths if sys.argv[2] == "tls" else None))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    print("mode   handler         in flight   calls/s  server us  client us  (CPU per call)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_certificate(folder)
        run(lambda: measure(folder, None, seconds))
        run(lambda: measure(folder, paths, seconds))


if __name__ == "__main__":
    main()
