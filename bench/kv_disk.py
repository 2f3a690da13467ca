"""A store on a disk: what a put and a get cost, and that memory does not follow the data.

    .venv/bin/python bench/kv_disk.py [MEGABYTES] [VALUE_BYTES]

2 GB of values of 1,000 bytes by default, in commands of 200 puts of keys at random; then a tenth of
the keys is written again and read.  ``private`` is the process's own memory (``RssAnon``); pages of
files belong to the system, which takes them back as it needs them.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from quorate.base.codec import encode
from quorate.base.machine import Meta
from quorate.kv.core.commands import AnyOperation, Apply, Get, Put
from quorate.kv.core.store import Store
from quorate.kv.disk_table import MEMORY_BYTES, DiskTables

MEGABYTES, VALUE_BYTES = 2000, 1000
BATCH = 200


def private_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1000


def folder_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def phase(
    name: str, store: Store, keys: Sequence[bytes], make: Callable[[bytes], AnyOperation]
) -> None:
    worst_ms, cpu, began = 0.0, time.process_time(), time.perf_counter()
    for start in range(0, len(keys), BATCH):
        command = encode(Apply([make(key) for key in keys[start : start + BATCH]]))
        at = time.perf_counter()
        store.apply_batch(Meta(1, 1, 1_000_000), [command])
        worst_ms = max(worst_ms, (time.perf_counter() - at) * 1000)
    wall_us = (time.perf_counter() - began) / len(keys) * 1e6
    cpu_us = (time.process_time() - cpu) / len(keys) * 1e6
    print(
        f"{name:12s} {len(keys):9,d} {cpu_us:10.1f} {wall_us:10.1f} {worst_ms:12.1f}"
        f" {private_mb():12.0f}",
        flush=True,
    )


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES
    value_bytes = int(sys.argv[2]) if len(sys.argv) > 2 else VALUE_BYTES
    source = random.Random(1)
    keys = [source.randbytes(16) for _ in range(megabytes * 1_000_000 // value_bytes)]
    some = source.sample(keys, len(keys) // 10)
    with tempfile.TemporaryDirectory(prefix="kv-disk-", dir=".") as folder:
        tables = DiskTables(f"{folder}/tables")
        store = Store(tables)
        print(f"RocksDB may use {MEMORY_BYTES / 1e6:.0f} MB; microseconds an operation:")
        print("                  keys     CPU us    wall us  worst of 200   private MB")
        print(f"{'keys here':12s} {len(keys):9,d} {private_mb():47.0f}")
        phase("new", store, keys, lambda key: Put(key, source.randbytes(value_bytes)))
        phase("again", store, some, lambda key: Put(key, source.randbytes(value_bytes)))
        phase("get", store, some, Get)
        print(f"on the disk {folder_mb(Path(folder)):.0f} MB")
        began, count = time.perf_counter(), 0
        pieces = store.snapshot()
        first_ms = (time.perf_counter() - began) * 1000
        for piece in pieces:
            count += len(piece)
        seconds = time.perf_counter() - began
        print(f"snapshot: frozen in {first_ms:.1f} ms, {count / 1e6:.0f} MB in {seconds:.1f} s")
        tables.close()


if __name__ == "__main__":
    main()
