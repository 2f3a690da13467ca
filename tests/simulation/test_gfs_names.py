"""Names in the simulated world: folders, listings, patterns and the output of jobs."""

from collections.abc import Iterator

import pytest
from gfs_cluster import GfsCluster

from quorate.base.errors import BadInput, NotFound
from quorate.gfs.client import FileSystem
from quorate.runtime.simulated.world import Simulation


@pytest.fixture
def cluster() -> Iterator[GfsCluster]:
    with Simulation(1) as simulation:
        yield GfsCluster(simulation).start()


async def put(fs: FileSystem, path: str, data: bytes) -> None:
    file = await fs.create(path)
    await file.write(data)
    await file.close()


def test_names_are_kept_as_a_file_system_keeps_them(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        for path in ("/d/a.py", "/d/b.txt", "/d/e/c.py", "/d/e/f/d.py", "/x.py"):
            await put(fs, path, path.encode())
        await fs.mkdir("/empty/one", parents=True)

        async def found(pattern: str) -> list[str]:
            return [status.path for status in await fs.glob(pattern)]

        assert [s.path for s in await fs.list("/d")] == ["/d/a.py", "/d/b.txt", "/d/e"]
        assert [s.path for s in await fs.list("/d/a.py")] == ["/d/a.py"]
        assert [s.path for s in await fs.walk("/")] == [
            "/d/a.py", "/d/b.txt", "/d/e/c.py", "/d/e/f/d.py", "/x.py",
        ]  # fmt: skip
        assert await found("/d/*.py") == ["/d/a.py"]
        assert await found("/*/e/*.py") == ["/d/e/c.py"]
        assert await found("/d/**/*.py") == ["/d/a.py", "/d/e/c.py", "/d/e/f/d.py"]
        assert await found("/**/f") == ["/d/e/f"]
        assert await found("/?.py") == ["/x.py"]
        assert await found("/x.py") == ["/x.py"]
        assert await found("/nothing/*") == await found("/x.py/*") == await found("/y") == []
        await fs.rename("/d/e", "/e")
        assert await fs.read("/e/f/d.py") == b"/d/e/f/d.py"
        with pytest.raises(BadInput, match="not empty"):
            await fs.delete("/d")
        await fs.delete("/d", recursive=True)
        with pytest.raises(NotFound):
            await fs.stat("/d/a.py")
        for bad in ("relative", "/a/../b", "/a\udc80"):
            with pytest.raises(BadInput):
                await fs.stat(bad)

    cluster.run(work)


def test_a_listing_of_several_pages_is_whole(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        for number in range(1_100):
            await fs.mkdir(f"/d/{number:05}", parents=True)
        names = [status.name for status in await fs.list("/d")]
        assert names == [f"{number:05}" for number in range(1_100)]

    cluster.run(work)


def test_a_job_publishes_its_output_once_and_whole(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        assert await fs.prepare_output("/t", "/out/words", "job", 1) is False
        for name in ("a", "b"):
            file = await fs.create(f"/t/attempts/{name}", fence=1)
            await file.write(name.encode())
            await file.close()
        for _ in range(2):
            await fs.publish("/t", "/out/words", [("part-0", "/t/attempts/b")], "job", 1)
        assert [s.path for s in await fs.walk("/")] == ["/out/words/part-0"]
        assert await fs.read("/out/words/part-0") == b"b"
        assert await fs.prepare_output("/t", "/out/words", "job", 2) is True
        await fs.drop_output("/t", "job", 2)

    cluster.run(work)
