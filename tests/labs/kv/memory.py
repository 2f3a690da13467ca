"""Lab 2 of 2024: what a server keeps when everything is said and done.

The server is the store within its sessions, as a replica has it, in this process; time and network
do not matter.  Its values are of 8 MiB, the largest that the store takes, where the labs' have
10 MiB; bounds are those of the labs for that size.  A clerk of the labs has no session to open, and
nothing tells their server that it has its answer; ours says so with its next command, so the answer
to its last one is kept until then, and comes on top of the 200 bytes.
"""

import gc
import tracemalloc
from collections.abc import Callable

from quorate.base.codec import encode, result_of
from quorate.base.machine import Meta
from quorate.kv.core.commands import (
    MAX_INLINE_BYTES,
    MAX_VALUE_BYTES,
    Append,
    Apply,
    Get,
    LookUp,
    Operation,
    Put,
    Stage,
)
from quorate.kv.core.store import Store
from quorate.raft.sessions import OpenSession, SessionMachine, wrap
from quorate.simulator.lab.results import Measure

MIB = 1 << 20
CLERK_BYTES = 200
READER_BYTES = 10
ANSWER_BYTES = 400
"""Ours: for the answer to a clerk's last command."""
APPENDS = 1_000
APPENDED_BYTES = 1_000


class Server:
    """A replica's state, without its log."""

    def __init__(self) -> None:
        self._machine = SessionMachine(Store(max_events=0))
        self._index = 0
        self._uploads = 0

    def entry(self, *commands: bytes) -> list[bytes]:
        """Apply one entry of the log."""
        self._index += 1
        return self._machine.apply_batch(Meta(self._index, 1, self._index), commands)

    def do(self, operation: Operation, session: int = 0, sequence: int = 0) -> None:
        command = encode(Apply([operation]))  # type: ignore[list-item]
        self.entry(wrap(session, sequence, max(0, sequence - 1), command))

    def upload(self, value: bytes) -> int:
        """Send a large value ahead."""
        self._uploads += 1
        for offset in range(0, len(value), MAX_INLINE_BYTES):
            piece = Stage(self._uploads, offset, value[offset : offset + MAX_INLINE_BYTES])
            self.entry(wrap(0, 0, 0, encode(piece)))
        return self._uploads

    def get(self, key: bytes) -> int:
        """How long its value is, as a reader sees it."""
        [value] = result_of(self._machine.query(encode(LookUp([Get(key)]))), list[bytes])
        return len(value)

    def settle(self) -> None:
        """What is left to do later, now."""
        while (due_ms := self._machine.next_deadline_ms()) is not None and due_ms <= self._index:
            self.entry()
        self._machine.digest()


def grown_bytes(server: Server, work: Callable[[], object]) -> int:
    """What ``work`` leaves behind."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        server.settle()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def mem_get(clerks: int) -> Measure:
    """Ten read a value of 8 MiB, and then it is overwritten."""
    server = Server()

    def work() -> None:
        server.do(Put(b"k", server.upload(bytes(MAX_VALUE_BYTES))))
        for _ in range(10):
            assert server.get(b"k") == MAX_VALUE_BYTES
        server.do(Put(b"k", b"0"))

    return _at_most("values that were read are not kept", grown_bytes(server, work), 8 * MIB)


def mem_put(clerks: int) -> Measure:
    """Two put values of 8 MiB, and then nothing."""
    server = Server()

    def work() -> None:
        server.do(Put(b"k", server.upload(bytes(MAX_VALUE_BYTES))))
        server.do(Put(b"k", server.upload(bytes(MAX_VALUE_BYTES))))
        server.do(Put(b"k", b""))

    return _at_most("values that were put are not kept", grown_bytes(server, work), 8 * MIB)


def mem_append(clerks: int) -> Measure:
    """Two values of 4 MiB after each other; the labs allow three times one of them."""
    server = Server()

    def work() -> None:
        for _ in range(2):
            server.do(Append(b"k", server.upload(bytes(4 * MIB))))

    return _at_most("the value is kept once", grown_bytes(server, work), 12 * MIB)


def mem_put_many_clients(clerks: int) -> Measure:
    """Each of many clerks puts once, and has its answer."""
    server = Server()

    def work() -> None:
        for _ in range(clerks):
            session = _opened(server)
            server.do(Put(b"k", b"0"), session, 1)
            server.entry(wrap(session, 1, 1, b""))  # what says that it has the answer

    return _at_most("a clerk takes", round(grown_bytes(server, work) / clerks), CLERK_BYTES)


def mem_put_many_clients_unacknowledged(clerks: int) -> Measure:
    """Each of many clerks puts once, and nobody knows whether it has its answer (our bound)."""
    server = Server()

    def work() -> None:
        for _ in range(clerks):
            server.do(Put(b"k", b"0"), _opened(server), 1)

    bound = CLERK_BYTES + ANSWER_BYTES
    return _at_most(
        "a clerk takes, with an answer", round(grown_bytes(server, work) / clerks), bound
    )


def mem_get_many_clients(clerks: int) -> Measure:
    """Each of many clerks reads once."""
    server = Server()
    server.do(Put(b"k", b"0"))

    def work() -> None:
        for _ in range(clerks):
            assert server.get(b"k") == 1

    return _at_most("a reader takes", round(grown_bytes(server, work) / clerks), READER_BYTES)


def mem_many_appends(clerks: int) -> Measure:
    """A thousand appends of a thousand bytes take less than three times that."""
    server = Server()
    session = _opened(server)

    def work() -> None:
        for sequence in range(1, APPENDS + 1):
            server.do(Append(b"k", bytes(APPENDED_BYTES)), session, sequence)

    bound = 3 * APPENDS * APPENDED_BYTES
    return _at_most("the value is kept once", grown_bytes(server, work), bound)


def _opened(server: Server) -> int:
    [outcome] = server.entry(encode(OpenSession()))
    return result_of(outcome, int)


def _at_most(what: str, figure: int, bound: int) -> Measure:
    return Measure(what, "≤", bound, figure, "B")


MEMORY_TESTS: tuple[Callable[[int], Measure], ...] = (
    mem_get,
    mem_put,
    mem_append,
    mem_put_many_clients,
    mem_put_many_clients_unacknowledged,
    mem_get_many_clients,
    mem_many_appends,
)
