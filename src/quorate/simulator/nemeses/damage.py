"""What becomes of a disk whose machine is down."""

import random

from quorate.raft.wal.format import batch_bytes, decode_batch_header
from quorate.runtime.simulated.disk import SimulatedDisk
from quorate.runtime.simulated.inodes import DirectoryInode, FileInode


def flip_bit(disk: SimulatedDisk, rng: random.Random) -> None:
    """Flip one bit of the log, in the last batch that was written whole and may have been
    acknowledged."""
    log = disk.found(("raft", "log"))
    if not isinstance(log, DirectoryInode) or not any(map(_is_segment, log.entries)):
        return  # the disk is new
    newest = max(filter(_is_segment, log.entries))
    file = log.entries[newest]
    data = bytes(file.current) if isinstance(file, FileInode) else b""
    offset, last = 512, None
    while (header := decode_batch_header(data, offset)) is not None:
        last = (offset, batch_bytes(header.payload_bytes))
        offset += last[1]
    if last is not None:
        at = last[0] + rng.randrange(last[1])
        disk.flip_bit(f"raft/log/{newest}", at, rng.randrange(8))


def _is_segment(name: str) -> bool:
    return name.endswith(".seg")
