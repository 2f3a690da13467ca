"""What a simulated disk keeps when processes die, power is lost and syncs fail."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.base.errors import DiskFailed, DiskFull
from quorate.runtime.ports import World
from quorate.runtime.simulated.inodes import SECTOR_BYTES
from quorate.runtime.simulated.world import Machine, Simulation

Work = Callable[[World], Coroutine[Any, Any, Any]]
SEEDS = range(60)


def run(machine: Machine, work: Work) -> Any:
    """Run ``work`` as a process of ``machine`` to its end."""
    process = machine.start_process("test", work)
    machine.simulation.run_until(lambda: not process.alive, 1e9)
    if process.error is not None:
        raise process.error
    return process.result


async def read_all(world: World) -> dict[str, bytes]:
    return {
        name: world.disk.open(name).read(0, 1 << 30)
        for name in world.disk.list("")
        if not world.disk.list(name)
    }


def after_power_loss(seed: int, *works: Work) -> dict[str, bytes]:
    with Simulation(seed) as simulation:
        machine = simulation.machine("n1")
        for work in works:
            run(machine, work)
        machine.power_loss()
        contents: dict[str, bytes] = run(machine, read_all)
        return contents


async def make_file(world: World) -> None:
    world.disk.open("file", create=True).close()
    await world.disk.sync_directory("")


def test_a_process_crash_keeps_all_that_was_written() -> None:
    async def write(world: World) -> None:
        world.disk.open("file", create=True).write(0, b"in the page cache")

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        run(machine, write)
        assert run(machine, read_all) == {"file": b"in the page cache"}


def test_synced_bytes_and_names_survive_every_power_loss() -> None:
    async def write(world: World) -> None:
        file = world.disk.open("file", create=True)
        await file.write_and_sync(0, b"synced" * 1_000)
        await world.disk.sync_directory("")
        file.write(3_000, b"unsynced" * 500)

    for seed in SEEDS:
        contents = after_power_loss(seed, write)["file"]
        assert contents[:3_000] == (b"synced" * 1_000)[:3_000]
        assert len(contents) >= 6_000


def test_unsynced_bytes_are_kept_lost_or_torn_at_sectors() -> None:
    async def write(world: World) -> None:
        world.disk.open("file").write(0, b"x" * 10 * SECTOR_BYTES)

    kept = [after_power_loss(seed, make_file, write)["file"] for seed in SEEDS]
    outcomes = {"all" if c == b"x" * 5_120 else "torn" if c else "nothing" for c in kept}
    assert outcomes == {"all", "torn", "nothing"}
    for contents in kept:
        for start in range(0, len(contents), SECTOR_BYTES):
            sector = contents[start : start + SECTOR_BYTES]
            assert sector in (b"x" * SECTOR_BYTES, bytes(SECTOR_BYTES))
    assert any(0 < len(contents.rstrip(b"\0")) < 5_120 for contents in kept)
    assert any(b"\0x" in contents for contents in kept)  # a hole before what was kept


def test_a_later_write_to_a_sector_never_outlives_an_earlier_one() -> None:
    async def write(world: World) -> None:
        file = world.disk.open("file")
        for number in range(1, 6):
            file.write(number * 10, bytes([number]) * 10)

    seen = set()
    for seed in SEEDS:
        contents = after_power_loss(seed, make_file, write)["file"]
        marks = [contents[number * 10] for number in range(1, 6) if number * 10 < len(contents)]
        assert marks == list(range(1, len(marks) + 1))
        seen.add(len(marks))
    assert {0, 5} < seen


def test_a_sync_in_flight_at_the_power_loss_promises_nothing() -> None:
    async def write(world: World) -> None:
        file = world.disk.open("file")
        world.spawn(file.write_and_sync(0, b"x" * 2_000), "sync")
        await world.clock.sleep(0.01)

    lengths = {len(after_power_loss(seed, make_file, write)["file"]) for seed in SEEDS}
    assert {0, 2_000} <= lengths


def test_what_is_written_during_a_sync_is_not_covered_by_it() -> None:
    async def write(world: World) -> None:
        file = world.disk.open("file")
        file.write(0, b"first")
        task = world.spawn(file.sync(), "sync")
        await world.clock.sleep(0.01)
        file.write(1_000, b"second")
        await task

    contents = [after_power_loss(seed, make_file, write)["file"] for seed in SEEDS]
    assert all(content.startswith(b"first") for content in contents)
    assert any(len(content) == 5 for content in contents)
    assert any(content.endswith(b"second") for content in contents)


def test_a_name_that_was_not_synced_may_be_forgotten() -> None:
    async def write(world: World) -> None:
        file = world.disk.open("file", create=True)
        await file.write_and_sync(0, b"synced")

    outcomes = {after_power_loss(seed, write).get("file") for seed in SEEDS}
    assert outcomes == {b"synced", None}


def test_a_removed_name_may_come_back_until_its_directory_is_synced() -> None:
    async def make(world: World) -> None:
        for name in ("a", "b"):
            await world.disk.open(name, create=True).write_and_sync(0, name.encode())
        await world.disk.sync_directory("")

    async def remove(world: World) -> None:
        world.disk.remove("a")
        await world.disk.sync_directory("")
        world.disk.remove("b")

    outcomes = [after_power_loss(seed, make, remove) for seed in SEEDS]
    assert {"b": b"b"} in outcomes and {} in outcomes
    assert not any("a" in outcome for outcome in outcomes)


def test_a_rename_is_old_or_new_and_after_the_sync_new() -> None:
    async def make(world: World) -> None:
        await world.disk.open("name", create=True).write_and_sync(0, b"old")
        await world.disk.open("next", create=True).write_and_sync(0, b"new")
        await world.disk.sync_directory("")

    async def rename(world: World) -> None:
        world.disk.rename("next", "name")

    async def rename_and_sync(world: World) -> None:
        world.disk.rename("next", "name")
        await world.disk.sync_directory("")

    old, new = {"name": b"old", "next": b"new"}, {"name": b"new"}
    outcomes = [after_power_loss(seed, make, rename) for seed in SEEDS]
    assert old in outcomes and new in outcomes
    assert all(outcome in (old, new) for outcome in outcomes)
    assert all(after_power_loss(seed, make, rename_and_sync) == new for seed in SEEDS)


def test_syncing_one_directory_of_a_chain_of_renames_leaves_one_name() -> None:
    async def move(world: World) -> None:
        disk = world.disk
        for name in ("a", "b", "c"):
            disk.make_directory(name)
        await disk.sync_directory("")
        await disk.open("a/file", create=True).write_and_sync(0, b"x")
        disk.rename("a/file", "b/file")
        disk.rename("b/file", "c/file")
        await disk.sync_directory("c")

    async def names(world: World) -> list[str]:
        return [f"{d}/{name}" for d in ("a", "b", "c") for name in world.disk.list(d)]

    for seed in SEEDS:
        with Simulation(seed) as simulation:
            machine = simulation.machine("n1")
            run(machine, move)
            machine.power_loss()
            assert run(machine, names) == ["c/file"]


def test_a_tree_that_is_being_removed_may_survive_in_part() -> None:
    async def make(world: World) -> None:
        world.disk.make_directory("d")
        await world.disk.sync_directory("")
        for number in range(4):
            world.disk.open(f"d/{number}", create=True).close()
        await world.disk.sync_directory("d")

    async def remove(world: World) -> None:
        world.disk.remove("d")

    async def names(world: World) -> tuple[bool, int]:
        return world.disk.exists("d"), len(world.disk.list("d"))

    outcomes = set()
    for seed in SEEDS:
        with Simulation(seed) as simulation:
            machine = simulation.machine("n1")
            run(machine, make)
            run(machine, remove)
            machine.power_loss()
            outcomes.add(run(machine, names))
    assert {(True, 4), (False, 0)} < outcomes
    assert any(exists and 0 < count < 4 for exists, count in outcomes)


def test_after_a_failed_sync_the_data_shows_but_no_later_sync_saves_it() -> None:
    async def write(world: World) -> None:
        file = world.disk.open("file")
        with pytest.raises(DiskFailed, match="sync file"):
            await file.write_and_sync(0, b"x" * 2_000)
        assert file.read(0, 2_000) == b"x" * 2_000
        await file.sync()
        await file.sync()

    lengths = []
    for seed in SEEDS:
        with Simulation(seed) as simulation:
            machine = simulation.machine("n1")
            run(machine, make_file)
            machine.disk.faults.fail_next_syncs = 1
            run(machine, write)
            assert run(machine, read_all)["file"] == b"x" * 2_000
            machine.power_loss()
            lengths.append(len(run(machine, read_all)["file"].rstrip(b"\0")))
    assert 0 in lengths and 2_000 in lengths


def test_syncs_fail_at_the_rate_that_is_set_and_stall() -> None:
    async def sync_often(world: World) -> tuple[int, float]:
        file = world.disk.open("file", create=True)
        start, failures = world.clock.monotonic_ms(), 0
        for _ in range(200):
            try:
                await file.sync()
            except DiskFailed:
                failures += 1
        return failures, world.clock.monotonic_ms() - start

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        assert run(machine, sync_often)[0] == 0
        machine.disk.faults.sync_failure_probability = 0.5
        machine.disk.faults.stall_probability = 0.5
        failures, took_ms = run(machine, sync_often)
        assert 60 < failures < 140
        assert took_ms > 20_000


def test_a_full_disk_takes_nothing_and_space_comes_back_when_files_go() -> None:
    async def fill(world: World) -> None:
        disk = world.disk
        file = disk.open("big", create=True)
        file.write(0, b"x" * 600)
        with pytest.raises(DiskFull, match="big: 400 bytes are free"):
            file.write(600, b"y" * 401)
        assert file.size() == 600
        file.write(100, b"overwriting needs no space" * 4)
        with pytest.raises(DiskFull):
            file.allocate(1_001)
        file.allocate(1_000)
        assert disk.free_bytes() == 0
        disk.open("small", create=True)
        disk.rename("small", "big")
        assert disk.free_bytes() == 1_000
        disk.open("big").write(0, b"z" * 1_000)
        disk.remove("big")
        assert disk.free_bytes() == 1_000

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        machine.disk.faults.capacity_bytes = 1_000
        run(machine, fill)


def test_a_flipped_bit_is_in_the_cache_and_on_the_disk() -> None:
    async def write(world: World) -> None:
        await world.disk.open("file", create=True).write_and_sync(0, b"\x00\x00")
        await world.disk.sync_directory("")

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        run(machine, write)
        machine.disk.flip_bit("test/file", 1, 3)
        assert run(machine, read_all) == {"file": b"\x00\x08"}
        machine.power_loss()
        assert run(machine, read_all) == {"file": b"\x00\x08"}


def test_allocating_a_log_segment_is_cheap_and_durable_once_synced() -> None:
    async def allocate(world: World) -> None:
        file = world.disk.open("file")
        file.allocate(256 << 10)
        await file.sync()
        file.write(100, b"record")

    for seed in range(10):
        contents = after_power_loss(seed, make_file, allocate)["file"]
        assert len(contents) == 256 << 10
        assert contents.strip(b"\0") in (b"", b"record")


WRITES = st.lists(
    st.tuples(st.integers(0, 4_000), st.integers(1, 2_000), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=150, deadline=None)
@given(writes=WRITES, seed=st.integers(0, 1 << 32))
def test_each_byte_after_a_power_loss_is_the_synced_one_or_a_later_one(
    writes: list[tuple[int, int, bool]], seed: int
) -> None:
    """The property that all recovery code may rely on, and no more than that."""
    allowed: list[set[int]] = [{0} for _ in range(6_000)]
    synced_length = 0

    async def work(world: World) -> None:
        nonlocal synced_length
        file = world.disk.open("file")
        for number, (offset, length, sync) in enumerate(writes, start=1):
            file.write(offset, bytes([number]) * length)
            for position in range(offset, offset + length):
                allowed[position].add(number)
            if sync:
                await file.sync()
                synced_length = file.size()
                current = file.read(0, 6_000)
                for position, value in enumerate(current):
                    allowed[position] = {value}

    contents = after_power_loss(seed, make_file, work)["file"]
    assert len(contents) >= synced_length
    assert all(value in allowed[position] for position, value in enumerate(contents))
