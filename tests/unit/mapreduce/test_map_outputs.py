"""Serving and fetching regions of map output."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quorate.base.checksum import crc32c
from quorate.base.errors import CorruptData, NotFound
from quorate.base.ids import Address
from quorate.mapreduce.core.commands import Attempt
from quorate.mapreduce.map_outputs import MapOutputStore, fetch_piece, map_output_file
from quorate.mapreduce.messages import MAX_PIECE_BYTES, FetchRegion, RegionPiece
from quorate.runtime.real.disk import RealDisk

ATTEMPT = Attempt(1, "map", 7, 2)
CALL: Any = None


@pytest.fixture
def store(tmp_path: Path) -> MapOutputStore:
    """One output with regions of 10 bytes, none, and more than a piece."""
    folder = tmp_path / "tasks" / "1"
    folder.mkdir(parents=True)
    content = b"0123456789" + b"x" * MAX_PIECE_BYTES + b"tail"
    (tmp_path / "tasks" / map_output_file(ATTEMPT)).write_bytes(content)
    world: Any = SimpleNamespace(disk=RealDisk(tmp_path))
    store = MapOutputStore(world)
    store.add(ATTEMPT, [10, 0, MAX_PIECE_BYTES + 4])
    return store


def served(store: MapOutputStore, reduce: int, offset: int = 0) -> bytes:
    reply, [data] = store.fetch(FetchRegion(ATTEMPT, reduce, offset), CALL)
    assert reply == RegionPiece(crc32c(data))
    return bytes(data)


def test_a_region_is_served_in_pieces_and_nothing_of_its_neighbours(store: MapOutputStore) -> None:
    assert served(store, 0) == b"0123456789"
    assert served(store, 0, 4) == b"456789"
    assert served(store, 0, 11) == b""
    assert served(store, 1) == b""
    assert served(store, 2) == b"x" * MAX_PIECE_BYTES
    assert served(store, 2, MAX_PIECE_BYTES) == b"tail"


@pytest.mark.parametrize(
    "request_",
    [
        FetchRegion(Attempt(1, "map", 7, 1), 0, 0),
        FetchRegion(ATTEMPT, 3, 0),
        FetchRegion(ATTEMPT, -1, 0),
        FetchRegion(ATTEMPT, 0, -1),
    ],
)
def test_what_is_not_here_is_not_found(store: MapOutputStore, request_: FetchRegion) -> None:
    with pytest.raises(NotFound, match="this worker has no output of map task 7"):
        store.fetch(request_, CALL)


def test_dropped_outputs_are_gone(store: MapOutputStore, tmp_path: Path) -> None:
    store.drop(ATTEMPT)
    assert not store.has(ATTEMPT)
    assert not (tmp_path / "tasks" / map_output_file(ATTEMPT)).exists()
    store.add(ATTEMPT, [1])
    store.drop_job(1)
    assert not store.has(ATTEMPT)


@pytest.mark.parametrize(("data", "checksum"), [(b"ab", 0), (b"", crc32c(b"")), (b"abc", None)])
def test_a_piece_that_is_damaged_empty_or_too_long_is_refused(
    data: bytes, checksum: int | None
) -> None:
    class Rpc:
        async def call_bulk(self, *args: Any, **kwargs: Any) -> tuple[RegionPiece, memoryview]:
            return RegionPiece(crc32c(data) if checksum is None else checksum), memoryview(data)

    rpc: Any = Rpc()
    with pytest.raises(CorruptData):
        asyncio.run(fetch_piece(rpc, Address("a:1"), FetchRegion(ATTEMPT, 0, 0), 2, 100))
