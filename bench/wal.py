"""The write-ahead log on this machine's disk: records a second, and CPU time a record.

    .venv/bin/python bench/wal.py [DIRECTORY]

Each record is one entry of 200 bytes.  CPU is that of the whole process, kernel and sync thread
included; "the log alone" is the same work with writes and syncs left out.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from quorate.base.ids import ClusterId, GroupId, NodeId
from quorate.raft.core.entries import Entry
from quorate.raft.wal import Wal
from quorate.runtime.ports import Buffer
from quorate.runtime.real.disk import RealDisk, RealFile

CLUSTER, NODE, GROUP = ClusterId("b" * 32), NodeId(1), GroupId(1)
DATA = bytes(range(200))
RECORDS_PER_SYNC = (1, 64, 256)
SECONDS = 2.0


async def measure(directory: Path, per_sync: int) -> tuple[int, int, float, float]:
    """Records, syncs, wall seconds and CPU seconds of about ``SECONDS`` of work."""
    disk = RealDisk(directory)
    await Wal.create(disk, CLUSTER, NODE)
    wal, _ = await Wal.open(disk, CLUSTER, NODE)
    index = syncs = 0
    began, cpu_began = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < SECONDS:
        for _ in range(per_sync):
            index += 1
            wal.append(GROUP, [Entry(index, 1, 1, DATA)])
        await wal.sync()
        syncs += 1
        if index % 8192 == 0:  # a snapshot now and then, so that segments are removed
            wal.cut(GROUP, index - 4096, 1)
    result = index, syncs, time.perf_counter() - began, time.process_time() - cpu_began
    wal.close()
    disk.close()
    return result


async def measure_without_disk(directory: Path, per_sync: int) -> float:
    """CPU seconds a record of the log alone: the same calls, with writes and syncs left out."""

    async def nothing(self: RealFile, offset: int, data: Buffer) -> None:
        pass

    disk = RealDisk(directory)
    await Wal.create(disk, CLUSTER, NODE)
    wal, _ = await Wal.open(disk, CLUSTER, NODE)
    with mock.patch.object(RealFile, "write_and_sync", nothing):
        index = 0
        began = time.process_time()
        while index < 100_000:
            for _ in range(per_sync):
                index += 1
                wal.append(GROUP, [Entry(index, 1, 1, DATA)])
            await wal.sync()
        spent = time.process_time() - began
    wal.close()
    disk.close()
    return spent / index


def rows(directory: Path) -> list[dict[str, float]]:
    """One dictionary for each number of records a sync."""
    table = []
    for per_sync in RECORDS_PER_SYNC:
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            records, syncs, wall_s, cpu_s = asyncio.run(measure(Path(folder), per_sync))
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            alone_s = asyncio.run(measure_without_disk(Path(folder), per_sync))
        table.append(
            {
                "records_per_sync": per_sync,
                "syncs_per_s": syncs / wall_s,
                "records_per_s": records / wall_s,
                "cpu_us_per_record": cpu_s / records * 1e6,
                "log_alone_cpu_us_per_record": alone_s * 1e6,
            }
        )
    return table


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir())
    print(f"{len(DATA)} B records, log in {directory}")
    print("records/sync   syncs/s   records/s   CPU us/record   of it the log alone")
    for row in rows(directory):
        print(
            f"{row['records_per_sync']:12d} {row['syncs_per_s']:9,.0f}"
            f" {row['records_per_s']:11,.0f} {row['cpu_us_per_record']:15.2f}"
            f" {row['log_alone_cpu_us_per_record']:21.2f}"
        )


if __name__ == "__main__":
    main()
