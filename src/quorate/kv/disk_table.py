"""Tables in RocksDB, for a store that is larger than memory.

Rules:
* What is durable is the group's log and its snapshots.  A table is wiped when it is opened, filled
  from them, and neither synced nor logged here.
* Changes wait in memory until there are some hundred, and go as one batch.
* A view is an iterator of RocksDB: it shows the moment at which it was made, for as long as it
  lives.  (A ``Snapshot`` of rocksdict does not: its ``items`` show what came later.)
* A table that is cleared is a column family that is dropped: at once, and its files go when the
  last view does.  The next change makes a new one.
* What a put costs most is reading what was there.  Bloom filters answer for keys that are new, and
  what an operation has just looked at is not read again by its write.
* An error of the disk is no reply: it is RocksDB's own exception, and stops the replica before it
  parts from the others.  ``Limit.restricted`` is there so that it does not come so far.

In memory stay the index of ends (136 bytes for a key of 16 that has one, bench/kv_memory.py; none
for others), the history (32 MiB), the batch, and ``memory_bytes`` of RocksDB.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from quorate.kv.core.commands import Entry

BATCH_ENTRIES = 512
BATCH_BYTES = 1 << 20
MEMORY_BYTES = 256 << 20
"""Of blocks, indexes, filters and what is not written yet; a third of it the latter."""
BLOOM_BITS = 10
"""A key: one look at a disk in a hundred is for nothing."""
OPEN_FILES = 512
_HEAD = Struct(">QQ")


class DiskTables:
    """The folder that holds the tables of one store; calling it makes an empty table."""

    def __init__(self, folder: str, memory_bytes: int = MEMORY_BYTES) -> None:
        self._options = _options(memory_bytes)
        self._folder = folder
        Rdict.destroy(folder, self._options)
        self._base = Rdict(folder, self._options)
        self._last = 0
        unlogged: Any = WriteOptions()  # rocksdict's stub takes the property for a method
        unlogged.disable_wal = True
        self._unlogged: WriteOptions = unlogged

    def __call__(self) -> "DiskTable":
        return DiskTable(self)

    def family(self) -> tuple[str, Rdict]:
        """A new, empty one."""
        self._last += 1
        name = f"table-{self._last}"
        return name, self._base.create_column_family(name, self._options)

    def drop(self, name: str) -> None:
        """Nobody will change it any more; views of it stay."""
        self._base.drop_column_family(name)

    def write(self, name: str, changes: dict[bytes, Entry | None]) -> None:
        """All of them at once; ``None`` deletes."""
        batch = WriteBatch(raw_mode=True)
        batch.set_default_column_family(self._base.get_column_family_handle(name))
        for key, entry in changes.items():
            if entry is None:
                batch.delete(key)
            else:
                batch.put(key, _HEAD.pack(entry.revision, entry.at_ms) + entry.value)
        self._base.write(batch, self._unlogged)

    def close(self) -> None:
        """Nothing of it is used any more."""
        self._base.close()


class DiskTable:
    """Keys in order, with their entries: a ``Table`` (core/items.py)."""

    def __init__(self, tables: DiskTables) -> None:
        self._tables = tables
        self._name = ""
        self._family: Rdict | None = None
        self._changes: dict[bytes, Entry | None] = {}
        self._bytes = 0
        self._length = 0
        self._read: tuple[bytes, Entry | None] = (b"", None)
        """What was read last, and is still so."""

    def __len__(self) -> int:
        return self._length

    def get(self, key: bytes) -> Entry | None:
        if key in self._changes:
            return self._changes[key]
        if self._read[0] == key and self._read[1] is not None:
            return self._read[1]
        found = self._family.get(key) if self._family is not None else None
        entry = _entry(key, found) if found is not None else None
        self._read = (key, entry)
        return entry

    def swap(self, key: bytes, value: Entry) -> Entry | None:
        before = self.get(key)
        if before is None:
            self._length += 1
        self._change(key, value, len(value.value))
        return before

    def pop(self, key: bytes) -> Entry:
        before = self.get(key)
        if before is None:
            raise KeyError(key)
        self._length -= 1
        self._change(key, None, 0)
        return before

    def _change(self, key: bytes, value: Entry | None, size: int) -> None:
        self._read = (b"", None)
        self._changes[key] = value
        self._bytes += len(key) + size
        if len(self._changes) >= BATCH_ENTRIES or self._bytes >= BATCH_BYTES:
            self._write()

    def _write(self) -> None:
        if self._changes:
            if self._family is None:
                self._name, self._family = self._tables.family()
            self._tables.write(self._name, self._changes)
            self._changes, self._bytes = {}, 0

    def items(self, start: bytes | None = None) -> Iterator[tuple[bytes, Entry]]:
        """In order, from ``start`` on: a view."""
        self._write()
        if self._family is None:
            return iter(())
        found: Any = self._family.items(from_key=start) if start else self._family.items()
        return ((key, _entry(key, data)) for key, data in found)

    def freeze(self) -> Iterator[tuple[bytes, Entry]]:
        return self.items()

    def clear(self) -> Iterator[None]:
        if self._family is not None:
            self._family = None
            self._tables.drop(self._name)
        self._changes, self._bytes, self._length = {}, 0, 0
        self._read = (b"", None)
        yield


def _entry(key: bytes, data: bytes) -> Entry:
    revision, at_ms = _HEAD.unpack_from(data)
    return Entry(key, data[_HEAD.size :], revision, at_ms)


def _options(memory_bytes: int) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(memory_bytes * 2 // 3))
    blocks.set_bloom_filter(BLOOM_BITS, False)
    blocks.set_cache_index_and_filter_blocks(True)  # or they are not bounded
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_manager(WriteBufferManager(memory_bytes // 3, True))
    options.set_write_buffer_size(memory_bytes // 12)
    options.set_max_write_buffer_number(3)
    options.set_max_background_jobs(2)
    options.set_max_open_files(OPEN_FILES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    return options
