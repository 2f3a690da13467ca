"""Backup and restore of a running store.

A backup is all keys, with the values and the time left that they have at one index of the log.

    "quorate backup 1\\n"
    then blocks: kind (1 byte), length (4), CRC-32C of kind and content (4), content
    H  one Header
    E  a list of Entry, in the order of the keys; ``at_ms`` is the time left, 0: for ever
    F  one Footer, the last

Rules:
* A file is read to its end before anything is changed: one that is damaged, cut or of another
  version is refused with one sentence.
* Restoring is *resumable*, not all-or-nothing-visible: a store of any size cannot appear in one
  entry of the log.  Each batch is a transaction that also moves the key ``MARKER`` from where the
  restore was to where it is, on the condition that it was there.  So a batch is done once, two
  restores at a time cannot mix, whoever finds ``MARKER`` knows that the store is not complete, and
  the same command again goes on where the last one ended.  The last transaction deletes it.
* The store must be empty, or is emptied first with ``replace``.
* Keys get new revisions, above all that the backed-up store has given, so that a fencing token of
  its never comes again.  What it gave after the backup is not in the file: revisions go on
  ``SKIPPED`` above the backup's.  A watch from a revision of its is refused, and told to read.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec

from quorate.base.checksum import crc32c
from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.errors import AlreadyExists, BadInput, CorruptData, Fenced
from quorate.kv.client import KvClient
from quorate.kv.core.commands import Entry, PutMany, Set, Skip
from quorate.kv.transaction import Transaction

MAGIC = b"quorate backup 1\n"
MARKER = b"\x00quorate/restore"
BATCH_BYTES = 400 * 1024
"""Of keys and values in one transaction; a larger value is one of its own, sent ahead."""
BATCH_ENTRIES = 2_000
MAX_BLOCK_BYTES = 16 << 20
SKIPPED = 1 << 40
"""Changes that the store may have made after its backup: of 100,000 a second, those of 4 months."""
_HEAD_BYTES = 9
_CUT = "it is cut short"

Write: TypeAlias = Callable[[bytes], Awaitable[Any]]
Read: TypeAlias = Callable[[int], Awaitable[bytes]]
"""So many bytes from where the last call ended; fewer at the end."""
Source: TypeAlias = Callable[[], AbstractAsyncContextManager[Read]]
"""Opens the file at its beginning."""
Progress: TypeAlias = Callable[[int], object]
"""Told how many more keys are done."""


class Header(msgspec.Struct, array_like=True):
    """How a backup begins."""

    index: int
    """Of the log, of what the store was made by then."""
    revision: int
    """Of the store."""
    time_ms: int
    """Log time, from which on the ends are told."""


class Footer(msgspec.Struct, array_like=True):
    """How it ends."""

    entries: int
    bytes: int
    """Of keys and values."""
    checksum: int
    """Over the checksums of all blocks before."""


class Backup(msgspec.Struct):
    """What is in a file."""

    header: Header
    footer: Footer


class _Counted:
    """What has been written, or read, so far."""

    def __init__(self) -> None:
        self.footer = Footer(0, 0, 0)

    def add(self, block_checksum: int, entries: list[Entry]) -> None:
        footer = self.footer
        footer.entries += len(entries)
        footer.bytes += sum(len(entry.key) + len(entry.value) for entry in entries)
        footer.checksum = crc32c(b"%d %d" % (footer.checksum, block_checksum))


async def back_up(kv: KvClient, write: Write, progress: Progress = lambda count: None) -> Backup:
    """Write the store as it is now; raises ``Unavailable`` if the node that is read is lost."""
    view = await kv.view()
    try:
        opened, counted = view.opened, _Counted()
        header = Header(opened.index, opened.revision, opened.time_ms)
        checksum, block = _block(b"H", encode(header))
        counted.add(checksum, [])
        await write(MAGIC + block)
        async for piece in view.pieces():
            entries = _decoded(piece, list[Entry])
            checksum, block = _block(b"E", piece)
            counted.add(checksum, entries)
            await write(block)
            progress(len(entries))
        await write(_block(b"F", encode(counted.footer))[1])
    finally:
        await view.close()
    return Backup(header, counted.footer)


async def verify(source: Source) -> Backup:
    """Read a whole backup; raises ``CorruptData`` or ``BadInput`` in one sentence."""
    counted, header, footer = _Counted(), None, None
    async with source() as read:
        async for kind, checksum, content in _blocks(read):
            if footer is not None or (header is None) is not (kind == b"H"):
                raise _damaged("its parts do not stand in their order")
            if kind == b"F":
                footer = _decoded(content, Footer)
                continue
            if kind == b"H":
                header = _decoded(content, Header)
            counted.add(checksum, _decoded(content, list[Entry]) if kind == b"E" else [])
    if header is None or footer is None:
        raise _damaged(_CUT)
    if footer != counted.footer:
        raise _damaged("its parts are not those that were written")
    return Backup(header, footer)


async def restore(
    kv: KvClient,
    source: Source,
    *,
    verified: Backup | None = None,
    replace: bool = False,
    progress: Progress = lambda count: None,
) -> Backup:
    """Make the store what the backup holds; see the module for what is seen meanwhile.
    ``verified`` is what ``verify`` found, if that was asked already."""
    backup = verified or await verify(source)
    name = b"%d/%d/%d" % (backup.header.index, backup.footer.entries, backup.footer.checksum)
    done = await _begin(kv, name, backup.header.revision + SKIPPED, replace)
    progress(done)
    position = 0
    async with source() as read:
        async for batch in _batches(read):
            first, position = position, position + len(batch)
            if position > done:
                rest = batch[max(0, done - first) :]
                await _step(kv, name, done, _putting(rest).put(MARKER, _marker(name, position)))
                done = position
                progress(len(rest))
    await _step(kv, name, done, Transaction().delete(MARKER))
    return backup


async def _begin(kv: KvClient, name: bytes, revision: int, replace: bool) -> int:
    """How many entries of the backup ``name`` are there already; revisions go on above
    ``revision``."""
    marker = await kv.get(MARKER)
    if marker is not None and marker.value.startswith(name + b" "):
        return int(marker.value.rpartition(b" ")[2])
    if replace:
        await kv.clear()
    elif marker is not None:
        raise AlreadyExists(
            "the restore of another backup into this store was not finished: go on with that one,"
            " or replace everything (--replace)"
        )
    elif (await kv.page(limit=1, values=False)).entries:
        raise AlreadyExists(
            "the store holds keys: restore into an empty one, or replace everything (--replace)"
        )
    await kv.perform(Skip(revision))
    begun = await kv.commit(Transaction().if_absent(MARKER).put(MARKER, _marker(name, 0)))
    if not begun.held:
        raise _meanwhile()
    return 0


async def _step(kv: KvClient, name: bytes, done: int, transaction: Transaction) -> None:
    if not (await kv.commit(transaction.if_value(MARKER, _marker(name, done)))).held:
        raise _meanwhile()


def _putting(entries: list[Entry]) -> Transaction:
    entries = [entry for entry in entries if entry.key != MARKER]
    for_ever = [(entry.key, entry.value) for entry in entries if not entry.at_ms]
    transaction = Transaction()
    if for_ever:
        transaction.add(PutMany([*for_ever]))
    limited = (Set(entry.key, entry.value, ttl_ms=entry.at_ms) for entry in entries if entry.at_ms)
    return transaction.add(*limited)


async def _batches(read: Read) -> AsyncIterator[list[Entry]]:
    """The entries in portions for one transaction each."""
    batch, size = list[Entry](), 0
    async for kind, _, content in _blocks(read):
        for entry in _decoded(content, list[Entry]) if kind == b"E" else ():
            entry_bytes = len(entry.key) + len(entry.value)
            if batch and (size + entry_bytes > BATCH_BYTES or len(batch) == BATCH_ENTRIES):
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += entry_bytes
    if batch:
        yield batch


# The file.


def _block(kind: bytes, content: bytes | memoryview) -> tuple[int, bytes]:
    """Its checksum, and the whole of it."""
    checksum = crc32c(kind + bytes(content))
    head = kind + len(content).to_bytes(4, "big") + checksum.to_bytes(4, "big")
    return checksum, head + content


async def _blocks(read: Read) -> AsyncIterator[tuple[bytes, int, bytes]]:
    """Kind, checksum and content of each block."""
    magic = await read(len(MAGIC))
    if magic != MAGIC:
        if magic[:14] == MAGIC[:14] and magic.endswith(b"\n"):
            version = magic[15:].decode(errors="replace").strip()
            raise BadInput(f"the backup is of version {version}, and this build reads version 1")
        raise BadInput("this is no backup of a key/value store")
    while head := await read(_HEAD_BYTES):
        kind, length = head[:1], int.from_bytes(head[1:5], "big")
        checksum = int.from_bytes(head[5:], "big")
        if len(head) < _HEAD_BYTES:
            raise _damaged(_CUT)
        if kind not in (b"H", b"E", b"F") or length > MAX_BLOCK_BYTES:
            raise _damaged("a checksum does not fit")
        content = await read(length)
        if len(content) < length:
            raise _damaged(_CUT)
        if crc32c(kind + content) != checksum:
            raise _damaged("a checksum does not fit")
        yield kind, checksum, content


def _decoded(content: bytes | memoryview, kind: Any) -> Any:
    try:
        return decode(content, kind)
    except UNREADABLE:
        raise _damaged("a part cannot be read") from None


def _damaged(what: str) -> CorruptData:
    return CorruptData(f"the backup cannot be used ({what}): take another copy of it")


def _marker(name: bytes, done: int) -> bytes:
    return b"%s %d" % (name, done)


def _meanwhile() -> Fenced:
    return Fenced("another restore has changed the store meanwhile: this one has stopped")
