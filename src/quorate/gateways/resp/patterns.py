"""Redis' patterns for keys: ``*``, ``?``, ``[a-c]``, ``[^a]``, and a backslash for the next byte.

They become regular expressions without nested repetition: ``*`` followed by ``*`` is one, and each
``*`` is matched to the nearest place that fits, so matching takes no more than the product of both
lengths.
"""

import re
from collections.abc import Callable

MAX_PATTERN_BYTES = 1024
"""A longer pattern matches nothing but itself."""


def pattern(glob: bytes) -> Callable[[bytes], object]:
    """A function that tells whether a key matches."""
    if glob == b"*":
        return lambda key: True
    if len(glob) > MAX_PATTERN_BYTES:
        return lambda key: key == glob
    return re.compile(_expression(glob), re.DOTALL).fullmatch


def literal_prefix(glob: bytes) -> bytes:
    """What all keys that match begin with."""
    for at, byte in enumerate(glob):
        if byte in b"*?[\\":
            return glob[:at]
    return glob


def _expression(glob: bytes) -> bytes:
    # Between two stars the nearest match is as good as any: an atomic group keeps it, and nothing
    # is tried twice.
    pieces: list[bytes] = [b""]
    at = 0
    while at < len(glob):
        byte = glob[at : at + 1]
        if byte == b"*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append(b"")
        elif byte == b"?":
            pieces[-1] += b"."
        elif byte == b"[":
            at, members = _members(glob, at)
            pieces[-1] += members
        else:
            if byte == b"\\" and at + 1 < len(glob):
                at += 1
                byte = glob[at : at + 1]
            pieces[-1] += re.escape(byte)
        at += 1
    if len(pieces) == 1:
        return pieces[0]
    middle = b"".join(b"(?>.*?" + piece + b")" for piece in pieces[1:-1])
    return pieces[0] + middle + b".*" + pieces[-1]


def _members(glob: bytes, start: int) -> tuple[int, bytes]:
    """A class that opens at ``start``: the place of its end, and the expression."""
    at = start + 1
    is_other = glob[at : at + 1] == b"^"
    at += is_other
    members: list[bytes] = []
    while at < len(glob) and glob[at : at + 1] != b"]":
        if glob[at : at + 1] == b"\\" and at + 1 < len(glob):
            at += 1
        first = last = glob[at]
        if glob[at + 1 : at + 2] == b"-" and at + 2 < len(glob):
            last = glob[at + 2]
            at += 2
        low, high = sorted((first, last))
        members.append(b"\\x%02x-\\x%02x" % (low, high))
        at += 1
    if not members:
        return at, b"." if is_other else b"(?!)"
    return at, b"[%b%b]" % (b"^" if is_other else b"", b"".join(members))
