"""RPC over the ports of every world."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from contract.worlds import every_world, free_address, run_in
from unit.rpc.support import (
    CLIENT,
    Echo,
    Echoed,
    Fail,
    Fetch,
    Hang,
    Hint,
    Raw,
    Service,
    Store,
    frame,
    hello,
)

from quorate.base.codec import decode
from quorate.base.errors import BadInput, Fenced, Maybe, Unavailable
from quorate.base.ids import Address
from quorate.rpc.client import RpcClient
from quorate.rpc.frames import MAX_HELLO_FRAME_BYTES, MAX_PAYLOAD_BYTES, REQUEST, decode_frame
from quorate.runtime.ports import World

Scenario = Callable[[Service, RpcClient, Address], Coroutine[Any, Any, None]]


def served(kind: str, root: Path, scenario: Scenario) -> None:
    """Run ``scenario`` with a server and a client in one process of the world ``kind``."""

    async def main(world: World) -> None:
        service = Service(world)
        listener = await service.server.start(free_address(kind))
        client = RpcClient(world, CLIENT)
        try:
            await scenario(service, client, listener.address)
        finally:
            await client.close()
            await service.server.close()

    run_in(kind, root, main)


@every_world
def test_calls_are_answered_or_fail_as_the_server_says(kind: str, tmp_path: Path) -> None:
    async def scenario(service: Service, client: RpcClient, address: Address) -> None:
        for way in ("value", "future", "coroutine", "answer"):
            calls = [client.call(address, Echo(n, way), timeout_ms=10_000) for n in range(200)]
            assert await asyncio.gather(*calls) == [Echoed(n, way) for n in range(200)]
            with pytest.raises(Fenced) as caught:
                await client.call(address, Fail("fenced", way), timeout_ms=10_000)
            assert caught.value.details == {"token": 7}
        with pytest.raises(BadInput):
            await client.call(address, Echo(1, filler="x" * 2_000_000), timeout_ms=10_000)

    served(kind, tmp_path, scenario)


@every_world
def test_bulk_bytes_of_all_sizes_go_both_ways_beside_control_calls(
    kind: str, tmp_path: Path
) -> None:
    sizes = [0, 1, 1000, 32_768, 65_536, 1_000_003, MAX_PAYLOAD_BYTES]

    async def scenario(service: Service, client: RpcClient, address: Address) -> None:
        async def store(size: int) -> None:
            payload = memoryview(service.block)[:size]
            stored, _ = await client.call_bulk(address, Store(), [payload], timeout_ms=30_000)
            assert stored == size

        async def fetch(size: int) -> None:
            _, payload = await client.call_bulk(address, Fetch(size), timeout_ms=30_000)
            assert payload == service.block[:size]

        async def control() -> None:
            for number in range(20):
                await client.call(address, Echo(number), timeout_ms=30_000)

        await asyncio.gather(
            *(store(size) for size in sizes), *(fetch(size) for size in sizes), control()
        )
        assert sorted(map(len, service.stored)) == sizes
        assert all(view == service.block[: len(view)] for view in service.stored)

    served(kind, tmp_path, scenario)


@every_world
def test_deadlines_and_lost_connections_leave_a_maybe(kind: str, tmp_path: Path) -> None:
    async def scenario(service: Service, client: RpcClient, address: Address) -> None:
        with pytest.raises(Maybe, match="before the deadline"):
            await client.call(address, Hang(1), timeout_ms=60)
        await service.world.clock.sleep(20)
        assert service.cancelled == [1]
        call = asyncio.ensure_future(client.call(address, Hang(2), timeout_ms=60_000))
        while 2 not in service.hanging:
            await service.world.clock.sleep(1)
        await service.server.close()
        with pytest.raises(Maybe, match="was lost"):
            await call
        with pytest.raises(Unavailable):
            await client.call(address, Echo(1), timeout_ms=10_000)

    served(kind, tmp_path, scenario)


@every_world
@pytest.mark.parametrize("broken", [b"GET / HTTP/1.1", bytes(2 << 20)])
def test_a_broken_peer_is_cut_off_and_harms_nobody(
    kind: str, broken: bytes, tmp_path: Path
) -> None:
    async def scenario(service: Service, client: RpcClient, address: Address) -> None:
        hanging = asyncio.ensure_future(client.call(address, Hang(1), timeout_ms=60_000))
        peer = Raw()
        await service.world.network.connect(address, peer, 1 << 20, 10_000)
        peer.send(hello())
        peer.send((broken,))
        await peer.end
        assert await client.call(address, Echo(1), timeout_ms=10_000) == Echoed(1, "value")
        service.hanging[1].set_result(4)
        assert await hanging == 4

    served(kind, tmp_path, scenario)


@every_world
def test_an_unknown_peer_is_cut_off_at_a_small_frame_and_a_known_one_at_a_large_one(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(service: Service, client: RpcClient, address: Address) -> None:
        strangers = [Raw(), Raw()]
        for peer, size in zip(strangers, (MAX_HELLO_FRAME_BYTES + 1, 1 << 20), strict=True):
            await service.world.network.connect(address, peer, 1 << 20, 10_000)
            peer.connection.send([(bytes(size),)])
            await peer.end
            assert peer.received == []
        # What comes in one write with the hello may be as large as a call may be.
        peer = Raw()
        await service.world.network.connect(address, peer, 1 << 20, 10_000)
        peer.send(hello(), frame(REQUEST, Echo(3, filler="x" * 900_000), 1))
        while len(peer.received) < 2:
            await service.world.clock.sleep(1)
        header, _ = decode_frame(memoryview(peer.received[1]), bulk=False)
        assert decode(header.body, Echoed) == Echoed(3, "value")
        peer.connection.close()
        await peer.end

    served(kind, tmp_path, scenario)


@every_world
def test_the_end_of_a_control_connection_that_was_made_is_told_once(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(service: Service, client: RpcClient, address: Address) -> None:
        told: list[Address] = []
        client.lost = told.append
        await client.call_bulk(address, Store(), [b"bytes"], timeout_ms=10_000)
        await client.call(address, Echo(1), timeout_ms=10_000)
        assert told == []
        await service.server.close()
        while not told:
            await service.world.clock.sleep(1)
        with pytest.raises(Unavailable):  # no connection is made, so none is lost
            await client.call(address, Echo(2), timeout_ms=10_000)
        client.notify(address, Hint(1))
        await service.world.clock.sleep(200)
        assert told == [address]

    served(kind, tmp_path, scenario)


@every_world
def test_who_closes_its_own_connections_is_not_told_that_they_were_lost(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(service: Service, client: RpcClient, address: Address) -> None:
        told: list[Address] = []
        client.lost = told.append
        await client.call(address, Echo(1), timeout_ms=10_000)
        await client.close()
        await service.world.clock.sleep(50)
        assert told == []

    served(kind, tmp_path, scenario)
