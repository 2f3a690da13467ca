"""What ``import quorate`` offers, and the twins of asynchronous classes."""

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import quorate
from quorate.base.errors import AlreadyExists, BadInput, NotFound, Unavailable
from quorate.kv.client import KvClient
from quorate.kv.lock import Lock
from quorate.kv.viewing import View
from quorate.kv.watching import Watching
from quorate.library.background import Background, Opening, Twin, blocking, iterating
from quorate.library.blocking import BlockingKv, BlockingLock, BlockingView, BlockingWatch
from quorate.library.connection import BlockingQuorate, Quorate
from quorate.library.files import reader, writer
from quorate.library.local import BlockingLocalQuorate, LocalQuorate


class Sums:
    async def add(self, *numbers: int) -> int:
        await asyncio.sleep(0)
        if not numbers:
            raise NotFound("no numbers")
        return sum(numbers)

    async def count(self, end: int) -> AsyncIterator[int]:
        for number in range(end):
            yield number


class BlockingSums(Twin[Sums]):
    add = blocking(Sums.add)
    count = iterating(Sums.count)


def test_importing_quorate_is_cheap_and_all_that_it_offers_is_there() -> None:
    program = "import quorate, sys; sys.exit('asyncio' in sys.modules or 'msgspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert all(getattr(quorate, name) for name in quorate.__all__)
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        quorate.conect  # noqa: B018


@pytest.mark.parametrize(
    ("original", "twin"),
    [
        (KvClient, BlockingKv),
        (Watching, BlockingWatch),
        (Lock, BlockingLock),
        (View, BlockingView),
        (Quorate, BlockingQuorate),
        (LocalQuorate, BlockingLocalQuorate),
    ],
)
def test_a_twin_has_all_methods_with_the_same_parameters(original: Any, twin: Any) -> None:
    names = [name for name, _ in inspect.getmembers(original, callable) if name[0] != "_"]
    assert names
    for name in names:
        mine = inspect.signature(getattr(original, name)).parameters
        assert inspect.signature(getattr(twin, name)).parameters.keys() == mine.keys(), name


def test_a_twin_waits_and_raises_what_its_original_does() -> None:
    background = Background()
    sums = BlockingSums(Sums(), background)
    assert sums.add(1, 2) == 3
    assert list(sums.count(3)) == [0, 1, 2]
    with pytest.raises(NotFound):
        sums.add()
    background.close()
    with pytest.raises(BadInput, match="after it was closed"):
        sums.add(1)


def test_a_call_from_the_background_itself_is_refused_and_does_not_hang() -> None:
    background = Background()
    sums = BlockingSums(Sums(), background)

    async def within() -> None:
        with pytest.raises(BadInput, match="a callback of its own"):
            sums.add(1)

    background.run(within())
    background.close()


def test_what_is_opened_is_closed_for_with_and_for_async_with() -> None:
    said: list[str] = []

    @asynccontextmanager
    async def make() -> AsyncIterator[Sums]:
        said.append("open")
        yield Sums()
        said.append("close")

    with Opening(make, BlockingSums) as sums:
        assert sums.add(1) == 1

    async def work() -> None:
        async with Opening(make, BlockingSums) as sums:
            assert await sums.add(1) == 1

    asyncio.run(work())
    assert said == ["open", "close"] * 2
    assert not [thread for thread in threading.enumerate() if thread.name == "quorate"]


def test_what_cannot_be_connected_is_said_in_a_sentence() -> None:
    with pytest.raises(BadInput, match="'a' is no node"):
        quorate.connect("a")
    with pytest.raises(BadInput, match="belong together"):
        quorate.connect("a:1", tls_ca="ca.pem")
    with (
        pytest.raises(Unavailable, match="No node of a cluster answers"),
        quorate.connect("127.0.0.1:1"),
    ):
        raise AssertionError
    with pytest.raises(BadInput, match="99 nodes"):
        quorate.local(nodes=99)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "backup"

    async def write(address: str, *, fail: bool) -> None:
        async with writer(address) as put:
            await put(b"half")
            if fail:
                raise NotFound("the node is gone")

    async def read(address: str) -> bytes:
        async with reader(address)() as get:
            return await get(100)

    for address in (str(path), f"file://{path}"):
        with pytest.raises(NotFound):
            asyncio.run(write(address, fail=True))
        assert list(tmp_path.iterdir()) == []
        asyncio.run(write(address, fail=False))
        with pytest.raises(AlreadyExists):
            asyncio.run(write(address, fail=False))
        assert asyncio.run(read(address)) == b"half"
        path.unlink()
    for bad in ("nothing://x/y", "s3://bucket/x"):
        with pytest.raises(BadInput, match="cannot be used"):
            reader(bad)
