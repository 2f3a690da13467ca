"""Checksums (CRC32C) for disks and wires, and set digests for comparing replicas."""

from hashlib import blake2b

import google_crc32c

_MASK = (1 << 64) - 1


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC32C of ``data``: 17 to 27 GB/s on one core (docs/DEPENDENCIES.md)."""
    if not isinstance(data, bytes):
        data = bytes(data)
    value: int = google_crc32c.value(data)
    return value


def stable_hash(data: bytes) -> int:
    """64 bits of BLAKE2b: the same in every process, unlike ``hash``."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


class SetDigest:
    """A digest of a set of items that follows each change in constant time.

    The sum, modulo 2**64, of the items' hashes: the order of changes does not matter, so two
    replicas that hold the same items have the same digest however they came by them.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, item: bytes) -> None:
        self.value = (self.value + stable_hash(item)) & _MASK

    def remove(self, item: bytes) -> None:
        self.value = (self.value - stable_hash(item)) & _MASK
