"""What a key takes in memory: our store beside Redis, and what the order of the keys costs.

    .venv/bin/python bench/kv_memory.py [KEYS]

Keys of 16 bytes with values of 64, a million by default; each figure is the growth of a process's
resident memory, for one key.  A row of ours is a process of its own, filled as a log would.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from quorate.base.codec import encode
from quorate.base.frozen import FreezableMap
from quorate.base.machine import Meta
from quorate.kv.core.commands import Apply, Entry, Put, Set
from quorate.kv.core.items import KEY_OVERHEAD_BYTES
from quorate.kv.core.store import Store

KEYS = 1_000_000
KEY_BYTES, VALUE_BYTES = 16, 64
BATCH = 200
START_MS = 1_000_000
BAR = 2.5
ROWS = {
    "store": "keys and values",
    "written again": "each key written a second time",
    "with ends": "each key with a time to live",
    "map of entries": "of it: the ordered map with its entries",
    "dict of entries": "the same entries in a dict, without order",
}


def resident_bytes(pid: int | str = "self") -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pairs(keys: int) -> Iterator[tuple[bytes, bytes]]:
    source = random.Random(1)
    return ((source.randbytes(KEY_BYTES), source.randbytes(VALUE_BYTES)) for _ in range(keys))


def fill(store: Store, keys: int, ttl_ms: int = 0) -> None:
    operations: list[Put | Set] = []
    for key, value in pairs(keys):
        operations.append(Set(key, value, ttl_ms) if ttl_ms else Put(key, value))
        if len(operations) == BATCH:
            store.apply_batch(Meta(1, 1, START_MS), [encode(Apply(list(operations)))])
            operations.clear()


def measure(row: str, keys: int) -> None:
    """One row, in this process: prints the bytes a key."""
    store = Store()
    fill(store, BATCH)
    before = resident_bytes()
    held: list[object] = []
    if row in ("map of entries", "dict of entries"):
        plain: dict[bytes, Entry] = {}
        ordered: FreezableMap[bytes, Entry] = FreezableMap()
        into = ordered if row.startswith("map") else plain
        for revision, (key, value) in enumerate(pairs(keys)):
            into[key] = Entry(key, value, 1000 + revision)
        held.append(into)
    else:
        fill(store, keys, 10**9 if row == "with ends" else 0)
        if row == "written again":
            fill(store, keys)
    print((resident_bytes() - before) / keys)


def ours(row: str, keys: int) -> float:
    command = [sys.executable, __file__, str(keys), row]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def redis(keys: int) -> float | None:
    """The same in a redis-server of our own, or ``None``."""
    program = shutil.which("redis-server")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            for _ in range(100):
                if Path(path).exists():
                    break
                time.sleep(0.05)
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(path)
                before = resident_bytes(server.pid)
                head = b"*3\r\n$3\r\nSET\r\n$16\r\n%b\r\n$64\r\n%b\r\n"
                batch: list[bytes] = []
                for key, value in pairs(keys):
                    batch.append(head % (key, value))
                    if len(batch) == BATCH:
                        door.sendall(b"".join(batch))
                        left = len(b"+OK\r\n") * len(batch)
                        while left:
                            left -= len(door.recv(left))
                        batch.clear()
                return (resident_bytes(server.pid) - before) / keys
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else KEYS
    if len(sys.argv) > 2:
        return measure(sys.argv[2], keys)
    print(f"{keys:,} keys of {KEY_BYTES} bytes, values of {VALUE_BYTES}; bytes of memory a key:")
    found = {row: ours(row, keys) for row in ROWS}
    for row, figure in found.items():
        print(f"  {row:16s} {figure:6.0f}   {ROWS[row]}")
    overhead = found["store"] - KEY_BYTES - VALUE_BYTES
    print(f"  beside its bytes {overhead:6.0f}   counted as {KEY_OVERHEAD_BYTES}")
    order = found["map of entries"] - found["dict of entries"]
    print(f"  the order costs  {order:6.0f}   (below 0: it saves so much)")
    theirs = redis(keys)
    if theirs is None:
        print("  no redis-server here: nothing to compare with")
        return
    print(f"  redis            {theirs:6.0f}   ratio {found['store'] / theirs:.2f} (bar: {BAR})")


if __name__ == "__main__":
    main()
