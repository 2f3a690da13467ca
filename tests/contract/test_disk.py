"""The disk port, in every world."""

from pathlib import Path

import pytest
from contract.worlds import every_world, run_in

from quorate.base.check import Bug
from quorate.base.errors import DiskFailed, NotFound
from quorate.runtime.ports import World


@every_world
def test_bytes_written_are_read_back_and_gaps_are_zeros(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        file = world.disk.open("a", create=True)
        file.write(0, b"hello")
        file.write(10, memoryview(bytearray(b"world")))
        file.write(2, b"LL")
        assert file.size() == 15
        assert file.read(0, 100) == b"heLLo\0\0\0\0\0world"
        assert file.read(3, 4) == b"Lo\0\0"
        assert file.read(15, 10) == b""
        file.close()
        assert world.disk.open("a").read(10, 5) == b"world"

    run_in(kind, tmp_path, scenario)


@every_world
def test_syncs_return(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        file = world.disk.open("a", create=True)
        file.write(0, b"one")
        await file.sync()
        await file.write_and_sync(3, bytearray(b" two"))
        await world.disk.sync_directory("")
        world.disk.make_directory("d/e")
        await world.disk.sync_directory("d")
        assert file.read(0, 100) == b"one two"
        file.close()

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_file_may_be_closed_while_it_is_synced(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        file = world.disk.open("a", create=True)
        task = world.spawn(file.write_and_sync(0, b"x" * 1_000_000), "sync")
        await world.clock.sleep(0)
        file.close()
        await task
        assert world.disk.open("a").size() == 1_000_000

    run_in(kind, tmp_path, scenario)


@every_world
def test_allocated_space_reads_as_zeros_and_never_shrinks(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        file = world.disk.open("a", create=True)
        file.write(0, b"data")
        file.allocate(10_000)
        assert file.size() == 10_000
        assert file.read(0, 10_000) == b"data" + bytes(9_996)
        file.allocate(100)
        assert file.size() == 10_000
        file.close()

    run_in(kind, tmp_path, scenario)


@every_world
def test_names_are_listed_sorted_and_a_missing_directory_is_empty(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        disk = world.disk
        disk.make_directory("d/sub")
        disk.make_directory("d/sub")
        for name in ("c", "a", "b"):
            disk.open(f"d/{name}", create=True).close()
        assert disk.list("d") == ["a", "b", "c", "sub"]
        assert disk.list("") == disk.list(".") == ["d"]
        assert disk.list("nowhere") == disk.list("d/a") == []
        assert disk.exists("d/a") and disk.exists("d") and not disk.exists("d/x")

    run_in(kind, tmp_path, scenario)


@every_world
def test_rename_replaces_the_target(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        disk = world.disk
        disk.make_directory("d")
        for name in ("new", "d/old"):
            file = disk.open(name, create=True)
            file.write(0, name.encode())
            file.close()
        disk.rename("new", "d/old")
        assert disk.open("d/old").read(0, 100) == b"new"
        assert not disk.exists("new")
        disk.rename("d/old", "d/old")
        assert disk.open("d/old").read(0, 100) == b"new"

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_directory_is_renamed_with_all_it_holds(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.disk.make_directory("a/b")
        world.disk.open("a/b/c", create=True).close()
        world.disk.rename("a", "z")
        assert world.disk.list("z/b") == ["c"]

    run_in(kind, tmp_path, scenario)


@every_world
def test_remove_takes_files_trees_and_nothing(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        disk = world.disk
        disk.make_directory("d/e")
        disk.open("d/e/f", create=True).close()
        disk.open("g", create=True).close()
        disk.remove("g")
        disk.remove("d")
        disk.remove("d")
        disk.remove("d/e/f")
        assert disk.list("") == []

    run_in(kind, tmp_path, scenario)


@every_world
def test_what_is_missing_is_not_found(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        disk = world.disk
        disk.make_directory("d")
        for attempt in (
            lambda: disk.open("x"),
            lambda: disk.open("nowhere/x", create=True),
            lambda: disk.open("d"),
            lambda: disk.rename("x", "y"),
        ):
            with pytest.raises(NotFound):
                attempt()
        with pytest.raises(NotFound):
            await disk.sync_directory("nowhere")

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_directory_in_the_way_of_a_name_is_a_disk_failure(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.disk.make_directory("d")
        world.disk.open("f", create=True).close()
        with pytest.raises(DiskFailed):
            world.disk.rename("f", "d")
        with pytest.raises(DiskFailed):
            world.disk.make_directory("f")

    run_in(kind, tmp_path, scenario)


@every_world
@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/..", "x\0y"])
def test_a_path_that_leaves_the_root_is_a_bug(kind: str, path: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.disk.make_directory("a")
        for attempt in (
            lambda: world.disk.open(path),
            lambda: world.disk.exists(path),
            lambda: world.disk.list(path),
            lambda: world.disk.make_directory(path),
            lambda: world.disk.rename("a", path),
            lambda: world.disk.rename(path, "b"),
            lambda: world.disk.remove(path),
        ):
            with pytest.raises(Bug):
                attempt()
        with pytest.raises(Bug):
            world.disk.remove(".")

    run_in(kind, tmp_path, scenario)


@every_world
def test_free_space_is_known(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert world.disk.free_bytes() > 1_000_000

    run_in(kind, tmp_path, scenario)
