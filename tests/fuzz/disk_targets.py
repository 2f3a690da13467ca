"""What is read from disks: logs, chunk files, records, regions of map output.

Each format has a checksum, which keeps random bytes out; so the sealed targets put a good one over
a content that is none: what a bug of an older version, or a lying peer, would leave.
"""

import asyncio
import struct
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from fuzz.memory import MemoryDisk, MemoryFile, memory_world
from fuzz.target import Target, expect, framed, parts

from quorate.base.checksum import crc32c
from quorate.base.codec import decode, encode
from quorate.base.errors import (
    AlreadyExists,
    BadConfiguration,
    BadInput,
    CorruptData,
    JobFailed,
    NotFound,
    QuorateError,
)
from quorate.base.ids import ClusterId, GroupId, NodeId, ReplicaId
from quorate.base.stream import pack_records, unpack_records
from quorate.gfs.chunk_file import HEADER_BYTES, ChunkOwner, pack_head, read_blocks, read_head
from quorate.gfs.chunk_store import ChunkStore
from quorate.gfs.core.blocks import block_checksums
from quorate.gfs.core.commands import BLOCK_BYTES
from quorate.gfs.messages import ReadChunk, WriteChunk
from quorate.gfs.store_record import StoreRecord
from quorate.mapreduce.pairs import merge_regions, partition_of, write_region
from quorate.mapreduce.tasks import Mapped, Raised, decode_result
from quorate.node.bootstrap import founding_identity, new_cluster_id
from quorate.node.identity import NodeIdentity
from quorate.raft.core.entries import Entry, HardState
from quorate.raft.wal import Wal
from quorate.raft.wal.format import (
    FORMAT_VERSION,
    SECTOR,
    Damaged,
    SegmentHeader,
    encode_batch,
    encode_segment_header,
)
from quorate.raft.wal.records import Append, Cut, Relocate, State
from quorate.raft.wal.recovery import segment_path
from quorate.runtime.record import read_record, write_record

CLUSTER, NODE = ClusterId("c" * 32), NodeId(1)
OWNER = ChunkOwner(CLUSTER, NODE, "n1")
GROUP = GroupId(1)
T = TypeVar("T")
_loop = asyncio.new_event_loop()


def run(work: Coroutine[Any, Any, T]) -> T:
    return _loop.run_until_complete(work)


# The log.


def _open_log(disk: MemoryDisk) -> None:
    try:
        wal, recovered = run(Wal.open(disk, CLUSTER, NODE, segment_bytes=4 * SECTOR))
    except (Damaged, BadConfiguration):
        return
    for group, found in recovered.items():
        indexes = [entry.index for entry in found.entries]
        first = found.cut_index + 1
        expect(indexes == list(range(first, first + len(indexes))), "a gap in a recovered log")
        wal.append(group, [Entry(first + len(indexes), 9, 1, b"next")])
    run(wal.sync())
    wal.close()
    again = run(Wal.open(disk, CLUSTER, NODE, segment_bytes=4 * SECTOR))[1]
    for group, found in recovered.items():
        expect(again[group].entries[:-1] == found.entries, "entries changed at a restart")


def _segments(data: bytes) -> None:
    """Parts are the files of a log, in order: each the name's number and the content."""
    disk = MemoryDisk()
    for part in parts(data):
        disk.files[segment_path(int.from_bytes(part[:1], "big"))] = MemoryFile(part[1:])
    _open_log(disk)


def _batches(data: bytes) -> None:
    """Parts are the records of one batch each, whole and with good checksums."""
    images = [encode_batch(at, 1, payload) for at, payload in enumerate(parts(data), 1)]
    disk = MemoryDisk()
    disk.files[segment_path(1)] = MemoryFile(_segment(1, b"".join(images)))
    _open_log(disk)


def _segment(first: int, images: bytes) -> bytes:
    size = SECTOR + len(images) + SECTOR
    header = SegmentHeader(FORMAT_VERSION, NODE, CLUSTER, first, size)
    return (encode_segment_header(header) + images).ljust(size, b"\0")


def _entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [Entry(index, term, 1, b"%d" % index * 9) for index in range(first, last + 1)]


def _payloads() -> list[bytes]:
    batches: list[list[Any]] = [
        [],
        [State(GROUP, HardState(1, ReplicaId(1))), Append(GROUP, 1, _entries(1, 3))],
        [Append(GROUP, 3, _entries(3, 4, 2)), State(GROUP, HardState(2, ReplicaId(2)))],
        [Cut(GROUP, 2, 1), Relocate(GROUP, _entries(3, 3, 2))],
        [Append(GroupId(2), 1, _entries(1, 1)), Cut(GroupId(2), 1, 1)],
    ]
    return [encode(batch) for batch in batches]


def _segment_seeds() -> list[bytes]:
    payloads = _payloads()
    images = [encode_batch(at, 1, payload) for at, payload in enumerate(payloads, 1)]
    one = _segment(1, b"".join(images))
    first, second = _segment(1, b"".join(images[:3])), _segment(4, b"".join(images[3:]))
    torn = one[: -2 * SECTOR] + bytes(2 * SECTOR)
    rows = [[b"\1" + one], [b"\1" + first, b"\4" + second], [b"\1" + torn]]
    return [framed(row) for row in rows]


# Chunks.


def _chunk_file(data: bytes) -> None:
    """The first byte says whether the checksums are put right: of the header, of its table."""
    seal, raw = data[:1], bytearray(data[1:])
    if seal >= b"\x80" and len(raw) >= HEADER_BYTES:
        (offset,) = struct.unpack_from(">I", raw, HEADER_BYTES - 12)
        table = bytes(raw[HEADER_BYTES : max(HEADER_BYTES, offset)])
        struct.pack_into(">I", raw, HEADER_BYTES - 8, crc32c(table))
        struct.pack_into(">I", raw, HEADER_BYTES - 4, crc32c(bytes(raw[: HEADER_BYTES - 4])))
    file = MemoryFile(bytes(raw))
    try:
        head = read_head(file, OWNER, 7)
        start, content, _ = read_blocks(file, head, 0, min(head.length, BLOCK_BYTES), "chunk 7")
    except CorruptData:
        return
    expect(start == 0 and len(content) == min(head.length, BLOCK_BYTES), "other bytes")


def _chunk_seeds() -> list[bytes]:
    found = []
    for content in (b"", b"seven", b"x" * 3000):
        head = pack_head(OWNER, 7, BLOCK_BYTES, len(content), block_checksums(content))
        found += [seal + head + content for seal in (b"\0", b"\xff")]
    return found


def _chunk_requests(data: bytes) -> None:
    """Parts are pairs of a request and its payload.  A chunkserver may refuse, never stop."""
    run(_ask_chunk_store(parts(data)))


async def _ask_chunk_store(row: list[bytes]) -> None:
    failures: list[BaseException] = []
    world = memory_world(failures.append)
    store = ChunkStore(world, OWNER, lambda handle, present: None)
    kind = WriteChunk | ReadChunk
    for raw, payload in zip(row[::2], row[1::2], strict=False):
        try:
            request = decode(raw, kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        with suppress(BadInput, NotFound, CorruptData, AlreadyExists):
            if isinstance(request, WriteChunk):
                await store.write(request, memoryview(payload))
            else:
                blocks, content = store.read(request.handle, request.offset, request.length)
                expect(block_checksums(content) == blocks.checksums, "unverified bytes")
    if failures:
        raise failures[0]


def _request_seeds() -> list[bytes]:
    content = b"content" * 5
    write = WriteChunk(7, 0, BLOCK_BYTES, block_checksums(content), len(content))
    part = WriteChunk(8, 0, BLOCK_BYTES, block_checksums(content))
    read = ReadChunk(7, 3, 9)
    return [
        framed([encode(write), content, encode(read), b"", encode(write), content]),
        framed([encode(part), content, encode(read), b""]),
    ]


# Records, regions, results.


def _record(data: bytes) -> None:
    """As it is, and as the content of a good envelope."""
    kind: type[msgspec.Struct]
    for kind in (NodeIdentity, StoreRecord):
        sealed = b'{"format":1,"crc32c":"%08x","content":%s}' % (crc32c(data), data)
        for content in (data, sealed):
            disk = MemoryDisk()
            disk.files["record"] = MemoryFile(content)
            with suppress(CorruptData, BadConfiguration):
                read_record(disk, "record", kind, "the record")


def _record_seeds() -> list[bytes]:
    names = ["n1", "n2", "n3"]
    identity = founding_identity("n2", names, new_cluster_id(names, "a" * 24))
    disk = MemoryDisk()
    run(write_record(disk, "identity", identity))
    store = StoreRecord(CLUSTER, NODE, 5)
    run(write_record(disk, "store", store))
    files = [file.data for file in disk.files.values()]
    return [*map(bytes, files), msgspec.json.encode(identity), msgspec.json.encode(store)]


def _region(data: bytes) -> None:
    """Parts are regions: the bytes as they are, and as the payload of a good block."""
    row = parts(data)
    blocks = [len(part).to_bytes(4, "big") + struct.pack(">I", crc32c(part)) + part for part in row]
    for regions in (row, blocks):
        with suppress(CorruptData, JobFailed):
            for key in merge_regions(regions):
                partition_of(key, 3)


def _region_seeds() -> list[bytes]:
    groups: list[dict[Any, list[Any]]] = [
        {"a": [1, 2], "b": [[3], None]},
        {1: ["x"], 2.5: [b"y"], 7: [{"z": 1}]},
        {(1, "a"): [0], (1, "b"): [1]},
    ]
    regions = [b"".join(write_region(list(group), group)) for group in groups]
    return [framed([region, region]) for region in regions] + [
        framed([region[8:]]) for region in regions
    ]


def _task_result(data: bytes) -> None:
    with suppress(QuorateError):
        decode_result(data)


def _stream(data: bytes) -> None:
    """A stream cut anywhere gives the same records, or is refused."""
    found = []
    for size in (1, 7, 1 << 16):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        try:
            found.append(list(unpack_records(pieces)))
        except CorruptData:
            found.append([])
    expect(found[0] == found[1] == found[2], "the cut of a stream changes its records")


def _stream_seeds() -> list[bytes]:
    return [b"".join(pack_records([b"", b"one", b"two" * 99]))]


TARGETS = [
    Target("wal.segments", _segments, _segment_seeds, True, 2),
    Target("wal.batches", _batches, lambda: [framed(_payloads())], True, 2),
    Target("gfs.chunk_file", _chunk_file, _chunk_seeds),
    Target("gfs.chunk_requests", _chunk_requests, _request_seeds, True, 2),
    Target("runtime.record", _record, _record_seeds),
    Target("mapreduce.region", _region, _region_seeds, True),
    Target(
        "mapreduce.task_result",
        _task_result,
        lambda: [encode(Mapped([1, 2])), encode(Raised("no"))],
        weight=1,
    ),
    Target("base.stream", _stream, _stream_seeds, weight=2),
]
