"""What a fuzz target is, and how one input carries several messages.

A *framed* input is a row of parts, each a length of two bytes, big-endian, and that many bytes: a
sequence of frames, commands or batches.  A cut-off last part is as long as what is left.  So every
string of bytes is an input, and mutations can move, drop and change whole parts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One parser: ``run`` raises nothing on any input, or a bug was found.

    Which errors are documented, and so no bug, is decided inside ``run``.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    """Valid inputs, made by the product's own encoders: what mutations start from."""
    framed: bool = False
    weight: int = 4
    """Its share of the inputs; less for one that is slow."""


def parts(data: bytes) -> list[bytes]:
    """The parts of a framed input."""
    found = []
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : end])
        at = end
    return found


def framed(pieces: Iterable[bytes]) -> bytes:
    """The input that has these parts."""
    return b"".join(len(piece).to_bytes(2, "big") + piece for piece in pieces if len(piece) < 65536)


def expect(condition: object, message: str) -> None:
    """What must hold after any input."""
    if not condition:
        raise AssertionError(message)
