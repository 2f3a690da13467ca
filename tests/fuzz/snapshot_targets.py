"""Snapshot files: as they lie on the disk, and as a peer sends them."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from fuzz.memory import MemoryDisk, MemoryFile, memory_world
from fuzz.target import Target, expect, framed, parts

from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.errors import (
    BadConfiguration,
    CorruptData,
    DiskFull,
    ProtocolError,
    Unavailable,
)
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.configuration import founding
from quorate.raft.core.entries import Snapshot, SnapshotId
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshots.format import Encoder
from quorate.raft.snapshots.names import Kind, parse_name, path_of

ID = SnapshotId(GroupId(1), 9, 3, ReplicaId(2))
TIME_MS = 77
MEMBERS = founding({ReplicaId(n): Address(f"m{n}:raft") for n in (1, 2, 3)})
CONTENT = [b"first block", b"second", b"x" * 900]
_loop = asyncio.new_event_loop()


def _whole() -> bytes:
    encoder = Encoder()
    blocks = [encoder.header(ID, TIME_MS, MEMBERS), *map(encoder.block, CONTENT), encoder.end()]
    return b"".join(blocks)


def _file(data: bytes) -> None:
    """What has the name of a snapshot is read as what was written, or not at all."""
    _loop.run_until_complete(_read(data))


async def _read(data: bytes) -> None:
    disk, failures = MemoryDisk(), list[BaseException]()
    disk.files[path_of(ID, Kind.WHOLE)] = MemoryFile(data)
    world = memory_world(failures.append, disk=disk)
    with suppress(CorruptData, BadConfiguration):
        store = await SnapshotStore.open(world)
        snapshot = store.newest(ID.group)
        if snapshot is not None:
            content = b"".join(store.read(snapshot))
            expect(data == _whole() and content == b"".join(CONTENT), "a forgery has passed")


def _receive(data: bytes) -> None:
    """The first part is the offer, the second what was left of an earlier transfer, the others
    are what the sender answers.  A forged file of good checksums is not told here: its content
    is, where it is restored."""
    row = parts(data)
    try:
        offer = decode(row[0] if row else b"", Snapshot)
    except UNREADABLE:
        return
    _loop.run_until_complete(_fetch(offer, row[1:2], iter(row[2:])))


async def _fetch(offer: Snapshot, left: list[bytes], answers: Iterator[bytes]) -> None:
    disk, failures = MemoryDisk(), list[BaseException]()
    world = memory_world(failures.append, disk=disk)

    async def fetch(offset: int, length: int) -> memoryview:
        expect(0 <= offset < offer.bytes and length > 0, "asked for what was not offered")
        for answer in answers:
            return memoryview(answer)
        raise Unavailable("the sender is gone")

    with suppress(CorruptData, BadConfiguration, ProtocolError, DiskFull, Unavailable):
        for content in left:
            disk.files[path_of(offer.id, Kind.PARTIAL)] = MemoryFile(content)
        store = await SnapshotStore.open(world)
        snapshot = await store.receive(offer, fetch)
        expect(snapshot == offer, "what was received is not what was offered")
        for _ in store.read(snapshot):
            continue
    expect(all(path.startswith("snapshots/") for path in disk.files), "a file elsewhere")
    if failures:
        raise failures[0]


def _receive_seeds() -> list[bytes]:
    whole = _whole()
    offer = encode(Snapshot(ID, TIME_MS, len(whole), MEMBERS))
    return [
        framed([offer, b"", whole]),
        framed([offer, whole[:200], whole[200:]]),
        framed([offer, b"", whole[:64], whole[64:300], whole[300:]]),
    ]


def _name(data: bytes) -> None:
    found = parse_name(data.decode("utf-8", "replace"))
    if found is not None:
        expect(path_of(*found).encode() == b"snapshots/" + data, "a name with a second spelling")


def _name_seeds() -> list[bytes]:
    return [path_of(ID, kind).removeprefix("snapshots/").encode() for kind in Kind]


TARGETS = [
    Target("snapshots.file", _file, lambda: [_whole()]),
    Target("snapshots.receive", _receive, _receive_seeds, True),
    Target("snapshots.name", _name, _name_seeds, weight=1),
]
