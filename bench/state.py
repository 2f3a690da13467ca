"""A large state in memory: what its map costs beside a dict, how long a snapshot stops the loop.

    .venv/bin/python bench/state.py [ENTRIES] [DIRECTORY]

Keys of 16 bytes, values of 200; four million entries, the default, are a GB.  The loop is a real
one, with a probe that wakes each millisecond: a stall is how much later than that it woke.  On a
machine that others use, the CPU that the loop's thread used within a stall says what is ours.
"""

import asyncio
import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from key_values import KeyValues, PutMany

from quorate.base.codec import encode
from quorate.base.frozen import FreezableMap
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.base.machine import Meta
from quorate.raft.core.configuration import founding
from quorate.raft.core.entries import SnapshotId
from quorate.raft.sessions import SessionMachine, wrap
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshots.output import Turn
from quorate.runtime.ports import World
from quorate.runtime.real.world import close_world, real_world, run

ENTRIES = 4_000_000
MEMBERS = founding({ReplicaId(1): Address("127.0.0.1:1")})
VALUE_BYTES = 200
BATCH, BATCHES_PER_S = 100, 100
"""10,000 writes a second."""
PREPARED_BATCHES = 1000


class Mapping(Protocol):
    """What a dict and our map have in common."""

    def __setitem__(self, key: bytes, value: bytes) -> None: ...
    def get(self, key: bytes) -> bytes | None: ...
    def pop(self, key: bytes) -> bytes: ...


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def timed(what: Callable[[], object]) -> float:
    """CPU milliseconds."""
    began = time.thread_time_ns()
    what()
    return (time.thread_time_ns() - began) / 1e6


def each(keys: list[bytes], what: Callable[[bytes], object]) -> float:
    """CPU nanoseconds for one key."""
    began = time.thread_time_ns()
    for key in keys:
        what(key)
    return (time.thread_time_ns() - began) / len(keys)


def structure(name: str, mapping: Mapping, entries: int, freeze: Callable[[], object]) -> None:
    """One row: fill the map, then use it."""
    source = random.Random(1)
    before, worst_ns, now = resident_bytes(), 0, time.thread_time_ns
    sample = []
    for number in range(entries):
        key, value = source.randbytes(16), bytes(VALUE_BYTES)
        began = now()
        mapping[key] = value
        worst_ns = max(worst_ns, now() - began)
        if number % 40 == 0:
            sample.append(key)
    overhead = (resident_bytes() - before) / entries - (16 + 33) - (VALUE_BYTES + 33)
    source.shuffle(sample)
    value = bytes(VALUE_BYTES)
    get = each(sample, mapping.get)
    put = each(sample, lambda key: mapping.__setitem__(key, value))
    pop = each(sample, mapping.pop)
    for key in sample:
        mapping[key] = value
    collect_ms = timed(gc.collect)
    frozen: list[object] = []
    freeze_ms = timed(lambda: frozen.append(freeze()))
    after = each(sample[:10_000], lambda key: mapping.__setitem__(key, value))
    print(
        f"{name:13s} {get:7.0f} {put:7.0f} {pop:7.0f} {overhead:9.0f} {worst_ns / 1e6:12.2f}"
        f" {collect_ms:10.2f} {freeze_ms:10.2f} {after:12.0f}",
        flush=True,
    )


def structures(entries: int) -> None:
    """The map beside a plain dict."""
    print("CPU ns an operation: get, set, delete; bytes an entry beside key and value; CPU ms:")
    print(
        "                  get     set  delete   B/entry  longest set"
        "    full gc     freeze  then set ns"
    )
    plain: dict[bytes, bytes] = {}
    structure("dict", plain, entries, plain.copy)
    del plain
    ours: FreezableMap[bytes, bytes] = FreezableMap()
    structure("FreezableMap", ours, entries, ours.freeze)


class Probe:
    """Wakes each millisecond and remembers how late it was, with the collector's part in it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.late_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.gc_ms: list[float] = []

    def collecting(self, phase: str, info: dict[str, int]) -> None:
        """A callback of the collector."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.gc_ms.append((time.perf_counter() - self._began) * 1e3)

    async def work(self) -> None:
        while True:
            began, cpu_began = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            self.late_ms.append((time.perf_counter() - began) * 1e3 - 1)
            self.cpu_ms.append((time.thread_time() - cpu_began) * 1e3)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A row of the table: what happened within."""
        self.forget()
        began = time.perf_counter()
        yield
        late = sorted(self.late_ms)
        print(
            f"{name:32s} {time.perf_counter() - began:8.1f} {late[-1]:12.1f}"
            f" {late[int(len(late) * 0.999)]:9.1f} {max(self.cpu_ms):12.1f}"
            f" {max(self.gc_ms, default=0):8.1f} {sum(self.gc_ms):9.1f}",
            flush=True,
        )


class Writer:
    """Applies batches of writes to random keys that are there, so many a second."""

    def __init__(self, machine: SessionMachine, keys: list[bytes]) -> None:
        self.machine = machine
        value = random.Random(3).randbytes(VALUE_BYTES)
        picked = random.Random(4)
        self._batches = [
            [wrap(0, 0, 0, encode(PutMany([(picked.choice(keys), value)]))) for _ in range(BATCH)]
            for _ in range(PREPARED_BATCHES)
        ]
        self.index = 0
        self.applied = 0

    def apply(self, commands: list[bytes]) -> None:
        self.index += 1
        self.machine.apply_batch(Meta(self.index, 1, self.index), commands)

    async def work(self) -> None:
        due = time.perf_counter()
        while True:
            self.apply(self._batches[self.applied % PREPARED_BATCHES])
            self.applied += 1
            due += 1 / BATCHES_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def restore(world: World, machine: SessionMachine, stream: Iterator[bytes]) -> None:
    """As a replica does it: a turn of some milliseconds, and then the others'."""
    turn = Turn(world.clock)
    for _ in machine.restore(stream):
        await turn.spend()


async def pauses(directory: Path, entries: int) -> None:
    """The loop's stalls while writes go on: alone, beside a snapshot, beside a restore."""
    world = real_world(directory)
    machine = SessionMachine(KeyValues())
    source = random.Random(1)
    keys = []
    for number in range(0, entries, BATCH):
        pairs = [(source.randbytes(16), source.randbytes(VALUE_BYTES)) for _ in range(BATCH)]
        machine.apply_batch(Meta(number + 1, 1, 0), [wrap(0, 0, 0, encode(PutMany(pairs)))])
        keys.append(pairs[0][0])
    writer, probe = Writer(machine, keys), Probe()
    gc.callbacks.append(probe.collecting)
    store = await SnapshotStore.open(world)
    world.spawn(probe.work(), "probe")
    world.spawn(writer.work(), "writer")
    print(
        f"\n{len(keys)} keys of {entries} written, {BATCH * BATCHES_PER_S} writes a second, ms:\n"
        "                                        s longest stall     99.9%  of that CPU"
        "  gc worst   gc all"
    )
    try:
        with probe.phase("writes alone"):
            await asyncio.sleep(2)
        with probe.phase("writes and a snapshot"):
            began = time.thread_time()
            stream = machine.snapshot()
            freeze_ms = (time.thread_time() - began) * 1e3
            group = GroupId(1)
            id_ = SnapshotId(group, writer.index + 1, 1, ReplicaId(1))
            snapshot = await store.write(id_, 0, MEMBERS, stream)
            await asyncio.sleep(0.01)
        other = SessionMachine(KeyValues())
        with probe.phase("writes and a restore"):
            await restore(world, other, store.read(snapshot))
            await asyncio.sleep(0.01)
        with probe.phase("writes and a restore over that"):
            await restore(world, other, store.read(snapshot))
            await asyncio.sleep(0.01)
        print(
            f"frozen in {freeze_ms:.2f} ms of CPU; {snapshot.bytes / 1e6:,.0f} MB written;"
            f" {writer.applied * BATCH} writes meanwhile; {resident_bytes() / 1e9:.1f} GB resident"
        )
    finally:
        gc.callbacks.remove(probe.collecting)
        await close_world(world)


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    parent = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.gettempdir())
    print(f"{entries} entries of 16 and {VALUE_BYTES} bytes")
    structures(entries)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        run(lambda: pauses(Path(folder), entries))


if __name__ == "__main__":
    main()
