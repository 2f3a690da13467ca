"""Commands that walk over keys: KEYS and RANDOMKEY.

Rules:
* They read what is here, once all that was committed before is (``KvService.settle``).
* A walk gives way to others after each page.  So KEYS, unlike Redis', is no single moment of a
  store that changes meanwhile; a key that is there throughout is given, and given once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from quorate.gateways.resp import encoder
from quorate.gateways.resp.parser import Args
from quorate.gateways.resp.patterns import literal_prefix, pattern
from quorate.kv.core.commands import Range

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

PAGE_ENTRIES = 1000
MAX_KEYS = 1_000_000
MAX_KEYS_BYTES = 32 << 20
"""Of one answer; who has more has SCAN."""
RANDOM_ENTRIES = 1000
"""RANDOMKEY is one of so many that follow each other."""


def keys(connection: "RespConnection", args: Args) -> None:
    """``KEYS pattern``."""
    connection.settled(lambda: _Walk(connection, args[1]).go_on())


class _Walk:
    """Over all keys that may match."""

    def __init__(self, connection: "RespConnection", glob: bytes) -> None:
        self._connection = connection
        self._matches = pattern(glob)
        self._next: bytes | None = literal_prefix(glob)
        self._end = after_all(self._next or b"")
        self._found: list[bytes] = []
        self._bytes = 0

    def go_on(self) -> None:
        connection = self._connection
        if connection.is_closed or self._next is None:
            return
        page = connection.store.page(Range(self._next, self._end, PAGE_ENTRIES, values=False))
        for entry in page.entries:
            if self._matches(entry.key):
                self._found.append(encoder.bulk(entry.key))
                self._bytes += len(self._found[-1])
        self._next = page.more
        if len(self._found) > MAX_KEYS or self._bytes > MAX_KEYS_BYTES:
            connection.done(encoder.error("ERR too many keys for one answer: use SCAN"))
        elif self._next is None:
            connection.done(encoder.array(self._found))
        else:
            connection.later(self.go_on)


def after_all(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with ``prefix``."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def random_key(connection: "RespConnection", args: Args) -> None:
    """``RANDOMKEY``."""

    def draw() -> None:
        random = connection.random
        first = _some(connection, bytes(random.randrange(256) for _ in range(8)))
        if first is None:
            first = _some(connection, b"")
        nil: Callable[[int], bytes] = encoder.nil
        connection.done(nil(connection.protocol) if first is None else encoder.bulk(first))

    connection.settled(draw)


def _some(connection: "RespConnection", start: bytes) -> bytes | None:
    page = connection.store.page(Range(start, None, RANDOM_ENTRIES, values=False))
    return connection.random.choice(page.entries).key if page.entries else None
