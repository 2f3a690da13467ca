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
* An error of the disk is no reply, which would make this replica part from the others: it ends the
  process (``stop``), with the sentence of a ``DiskFull`` or ``DiskFailed``.  ``Limit.restricted``
  is there so that it does not come so far.
* Nobody waits for RocksDB to write or to merge its files: who changes a table is the loop of its
  process.

In memory stay the index of ends (136 bytes for a key of 16 that has one, bench/kv_memory.py; none
for others), the history (32 MiB), the batch, and ``memory_bytes`` of RocksDB.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from struct import Struct
from typing import Any, TypeAlias

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

from quorate.base.errors import DiskFailed, DiskFull, QuorateError
from quorate.kv.core.commands import Entry

BATCH_ENTRIES = 512
BATCH_BYTES = 1 << 20
MEMORY_BYTES = 192 << 20
"""Of blocks, indexes, filters and what is not written yet; a third of it the latter, and for a
while up to twice that third."""
BLOOM_BITS = 10
"""A key: one look at a disk in a hundred is for nothing."""
OPEN_FILES = 512
BUFFERS, MAX_BUFFERS = 8, 16
"""Of changes that are not on the disk yet, each an eighth of the memory for them.  When they have
all of it RocksDB writes them; nobody waits before there are twice as many."""
NEVER = 1 << 20
Stop: TypeAlias = Callable[[QuorateError], object]
_HEAD = Struct(">QQ")


class DiskTables:
    """The folder that holds the tables of one store; calling it makes an empty table."""

    def __init__(
        self, folder: str, memory_bytes: int = MEMORY_BYTES, stop: Stop | None = None
    ) -> None:
        """``stop`` ends the process; without one, RocksDB's own exceptions come out."""
        self._options = _options(memory_bytes)
        self._folder = folder
        self._stop = stop
        with self.failing():
            Rdict.destroy(folder, self._options)
            self._base = Rdict(folder, self._options)
        self._last = 0
        unlogged: Any = WriteOptions()  # rocksdict's stub takes the property for a method
        unlogged.disable_wal = True
        self._unlogged: WriteOptions = unlogged

    def __call__(self) -> "DiskTable":
        return DiskTable(self)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Around whatever may fail because the disk does."""
        try:
            yield
        except Exception as error:  # rocksdict has no class for what RocksDB says
            if self._stop is not None:
                self._stop(failure(self._folder, error))
            raise

    def family(self) -> tuple[str, Rdict]:
        """A new, empty one."""
        self._last += 1
        name = f"table-{self._last}"
        with self.failing():
            return name, self._base.create_column_family(name, self._options)

    def drop(self, name: str) -> None:
        """Nobody will change it any more; views of it stay."""
        with self.failing():
            self._base.drop_column_family(name)

    def write(self, name: str, changes: dict[bytes, Entry | None]) -> None:
        """All of them at once; ``None`` deletes."""
        with self.failing():
            batch = WriteBatch(raw_mode=True)
            batch.set_default_column_family(self._base.get_column_family_handle(name))
            for key, entry in changes.items():
                if entry is None:
                    batch.delete(key)
                else:
                    batch.put(key, _HEAD.pack(entry.revision, entry.at_ms) + entry.value)
            self._base.write(batch, self._unlogged)

    def read(self, family: Rdict, key: bytes) -> bytes | None:
        """What is there."""
        try:  # not ``failing``: this is what costs most
            found: bytes | None = family.get(key)
            return found
        except Exception:
            with self.failing():
                raise

    def entries(self, found: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, Entry]]:
        """Of a view."""
        with self.failing():
            for key, data in found:
                yield key, _entry(key, data)

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
        found = self._tables.read(self._family, key) if self._family is not None else None
        entry = _entry(key, found) if found is not None else None
        self._read = (key, entry)
        return entry

    def swap(self, key: bytes, value: Entry) -> Entry | None:
        before = self.get(key)
        if before is None:
            self._length += 1
        self._change(key, value, len(value.value))
        return before

    def swap_all(self, keys: Sequence[bytes], values: Sequence[Entry]) -> list[Entry | None]:
        return list(map(self.swap, keys, values))

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
        return self._tables.entries(found)

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


def failure(folder: str, error: Exception) -> QuorateError:
    """What RocksDB's ``error`` is to a user."""
    if "No space left" in str(error) or "NoSpace" in str(error):
        return DiskFull(
            f"no space is left on the disk for the tables in {folder}; free some or give the node"
            " a larger disk"
        )
    return DiskFailed(f"the disk failed the tables in {folder}: {str(error)[:300]}")


def _options(memory_bytes: int) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(memory_bytes * 2 // 3))
    blocks.set_bloom_filter(BLOOM_BITS, False)
    blocks.set_cache_index_and_filter_blocks(True)  # or they are not bounded
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(blocks)
    # Whoever writes is the loop of the process: it must never be made to wait for a flush or a
    # compaction.  What comes is bounded by the log, which is slower than both.
    options.set_write_buffer_manager(WriteBufferManager(memory_bytes // 3, False))
    options.set_write_buffer_size(memory_bytes // 3 // BUFFERS)
    options.set_max_write_buffer_number(MAX_BUFFERS)
    options.set_level_zero_slowdown_writes_trigger(NEVER)
    options.set_level_zero_stop_writes_trigger(NEVER)
    options.set_soft_pending_compaction_bytes_limit(0)
    options.set_hard_pending_compaction_bytes_limit(0)
    options.set_max_background_jobs(4)
    options.set_max_open_files(OPEN_FILES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    return options
