"""The network port, in every world (the simulated one without faults)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from contract.worlds import Inbox, connect_pair, every_world, free_address, run_in

from quorate.base.errors import BadConfiguration, ProtocolError, Unavailable
from quorate.base.ids import Address
from quorate.runtime.ports import World


@every_world
def test_frames_arrive_whole_and_in_order_both_ways(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        server, client, near = await connect_pair(world.network, kind)
        sent = [b"%d " % number * (1 + number % 300) for number in range(500)]
        for start in range(0, 500, 50):
            near.send([[frame] for frame in sent[start : start + 50]])
        await server.until(lambda inbox: len(inbox.frames) == 500)
        assert server.frames == sent
        assert server.connection is not None
        server.connection.send([[b"answer"], [b"and", b" more"]])
        await client.until(lambda inbox: len(inbox.frames) == 2)
        assert client.frames == [b"answer", b"and more"]

    run_in(kind, tmp_path, scenario)


@every_world
def test_pieces_of_any_buffer_type_and_size_are_joined_on_the_wire(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        limit = 64 << 20
        server, _, near = await connect_pair(world.network, kind, server_limit=limit)
        wide = memoryview(b"abcdefgh" * 100).cast("Q")
        frames = [
            [b"small", bytearray(b" and "), memoryview(b"mixed")],
            [b"header", memoryview(b"x" * 5_000_000), b"trailer"],
            [wide],
            [b"y" * 40_000, b"z" * 30_000],
            [b"last"],
        ]
        near.send(frames)
        await server.until(lambda inbox: len(inbox.frames) == 5)
        assert server.frames == [b"".join(frame) for frame in frames]

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_batch_of_small_frames_is_handed_over_in_one_call(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        server, _, near = await connect_pair(world.network, kind)
        near.send([[b"frame %d" % number] for number in range(100)])
        await server.until(lambda inbox: len(inbox.frames) == 100)
        assert len(server.batches) <= 2

    run_in(kind, tmp_path, scenario)


@every_world
def test_received_memory_belongs_to_the_receiver(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        kept: list[memoryview] = []

        class Keeper(Inbox):
            def frames_received(self, frames: Sequence[memoryview]) -> None:
                kept.extend(frames)
                super().frames_received(frames)

        server = Keeper()
        listener = await world.network.listen(free_address(kind), lambda: server, 1 << 20)
        near = await world.network.connect(listener.address, Inbox(), 1 << 20, 10_000)
        source = bytearray(b"first!")
        near.send([[source]])
        await server.until(lambda inbox: len(inbox.frames) == 1)
        source[:] = b"wiped!"
        near.send([[b"z" * 50_000], [b"second"]])
        await server.until(lambda inbox: len(inbox.frames) == 3)
        assert bytes(kept[0]) == b"first!"
        assert bytes(kept[2]) == b"second"
        listener.close()

    run_in(kind, tmp_path, scenario)


@every_world
@pytest.mark.parametrize("size", [0, 1_001, 200_000])
def test_a_frame_outside_the_limit_ends_that_connection_and_no_other(
    kind: str, size: int, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        server, client, near = await connect_pair(world.network, kind, server_limit=1_000)
        other_server, _, other = await connect_pair(world.network, kind, server_limit=1_000)
        near.send([[b"fine"], [b"x" * 1_000], [b"x" * size]])
        await server.until(lambda inbox: len(inbox.ended) == 1)
        assert isinstance(server.ended[0], ProtocolError)
        assert str(size) in str(server.ended[0])
        assert server.frames == [b"fine", b"x" * 1_000]
        await client.until(lambda inbox: len(inbox.ended) == 1)
        other.send([[b"still here"]])
        await other_server.until(lambda inbox: inbox.frames == [b"still here"])

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_receiver_can_raise_the_limit_for_what_follows_in_the_same_batch(
    kind: str, tmp_path: Path
) -> None:
    def raise_limit(inbox: Inbox) -> None:
        assert inbox.connection is not None
        inbox.connection.max_frame_bytes = 1 << 20

    async def scenario(world: World) -> None:
        server = Inbox(raise_limit)
        listener = await world.network.listen(free_address(kind), lambda: server, 100)
        near = await world.network.connect(listener.address, Inbox(), 100, 10_000)
        near.send([[b"hello"], [b"x" * 500], [b"y" * 60_000], [b"z" * 900_000]])
        await server.until(lambda inbox: len(inbox.frames) == 4)
        assert [len(frame) for frame in server.frames] == [5, 500, 60_000, 900_000]
        listener.close()

    run_in(kind, tmp_path, scenario)


@every_world
def test_close_delivers_what_was_sent_and_then_ends_both_sides_in_order(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        server, client, near = await connect_pair(world.network, kind, server_limit=8 << 20)
        near.send([[b"x" * 4_000_000], [b"last words"]])
        near.close()
        near.send([[b"too late"]])
        await server.until(lambda inbox: bool(inbox.ended))
        await client.until(lambda inbox: bool(inbox.ended))
        assert [len(frame) for frame in server.frames] == [4_000_000, 10]
        assert server.ended == [None]
        assert client.ended == [None]
        near.close()
        assert server.connection is not None
        server.connection.send([[b"into the void"]])
        await world.clock.sleep(5)
        assert len(client.ended) == len(server.ended) == 1

    run_in(kind, tmp_path, scenario)


@every_world
def test_drain_waits_while_much_is_buffered(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        server, _, near = await connect_pair(world.network, kind, server_limit=32 << 20)
        assert near.buffered_bytes() == 0
        await near.drain()
        for _ in range(4):
            near.send([[b"x" * (4 << 20)]])
        assert near.buffered_bytes() > 1 << 20
        async with asyncio.timeout(20):
            await near.drain()
        assert near.buffered_bytes() <= 1 << 20
        await server.until(lambda inbox: len(inbox.frames) == 4)

    run_in(kind, tmp_path, scenario)


@every_world
def test_drain_returns_when_the_connection_ends(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        _, client, near = await connect_pair(world.network, kind, server_limit=1_000)
        near.send([[b"x" * (16 << 20)]])
        async with asyncio.timeout(20):
            await near.drain()
        await client.until(lambda inbox: bool(inbox.ended))

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_taken_address_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        listener = await world.network.listen(free_address(kind), Inbox, 100)
        with pytest.raises(BadConfiguration, match=f"{listener.address} is taken"):
            await world.network.listen(listener.address, Inbox, 100)
        listener.close()

    run_in(kind, tmp_path, scenario)


@every_world
def test_connecting_where_nobody_listens_is_unavailable(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        listener = await world.network.listen(free_address(kind), Inbox, 100)
        address = listener.address
        listener.close()
        await world.clock.sleep(1)
        with pytest.raises(Unavailable, match=f"nobody listens at {address}"):
            await world.network.connect(address, Inbox(), 100, 10_000)

    run_in(kind, tmp_path, scenario)


@every_world
def test_port_zero_gives_each_listener_an_address_of_its_own(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        first = await world.network.listen(free_address(kind), Inbox, 100)
        second = await world.network.listen(free_address(kind), Inbox, 100)
        addresses: set[Address] = {first.address, second.address, free_address(kind)}
        assert len(addresses) == 3
        first.close()
        second.close()

    run_in(kind, tmp_path, scenario)
