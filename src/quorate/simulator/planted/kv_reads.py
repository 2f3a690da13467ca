"""Planted bugs of the store's reads: scans, local reads and views; and of ends given by RESP."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from quorate.base.codec import encode
from quorate.gateways.resp import encoder
from quorate.gateways.resp.commands import keys
from quorate.gateways.resp.commands.entry import Show
from quorate.gateways.resp.connection import RespConnection
from quorate.gateways.resp.patterns import pattern
from quorate.kv.core.commands import Entry
from quorate.kv.core.state import State
from quorate.kv.messages import OpenView, ViewOpened
from quorate.kv.server import ANSWER_SHARE, KvServer
from quorate.kv.views import Views, _View
from quorate.rpc.server import Call
from quorate.simulator.planted.patching import PlantedBug

_read_on = RespConnection._read_on
_batch = RespConnection._batch
_write = State.write
REMEMBERED = 20
"""So often a value that was read locally is shown again."""


def _ends_without_a_match(glob: bytes | None, is_string: bool) -> Show:
    matches: Callable[[bytes], object] = pattern(glob) if glob is not None else lambda key: True

    def show(reply: list[Any], connection: RespConnection) -> bytes:
        found = [encoder.bulk(key) for key in reply[1] if matches(key)]
        cursor = reply[0] if found else 0
        return encoder.array([encoder.bulk(b"%d" % cursor), encoder.array(found)])

    return show


def _from_a_cache(self: RespConnection) -> None:
    cache: dict[bytes, list[Any]] = self.gateway.__dict__.setdefault("planted_cache", {})
    for place, slot in enumerate(self._slots if self.reads_locally else ()):
        if not isinstance(slot, tuple):
            continue
        operation: Any = slot[0]
        name = encode(operation)
        if name not in cache or not cache[name][1]:
            cache[name] = [slot[1](self.store.look(operation), self), REMEMBERED]
        cache[name][1] -= 1
        self._slots[place] = cache[name][0]
    _read_on(self)


def _local_for_good(self: RespConnection, limit: int) -> None:
    local = self.gateway.__dict__.setdefault("planted_local", set())
    if self.reads_locally:
        local.add(self)
    self.reads_locally = self in local
    _batch(self, limit)


def _not_frozen(self: Views, time_ms: int) -> int:
    table = self._store.state.items.table

    def entries() -> Iterator[Entry]:
        start = b""
        while (found := next(islice(table.items(start), 1), None)) is not None:
            key, it = found
            start = key + b"\0"
            yield Entry(key, it.value, it.revision, max(0, it.at_ms - time_ms))

    number = self._world.random.getrandbits(62)
    self._views[number] = _View(entries(), self._world.clock.monotonic_ms())
    self._used(number)
    return number


async def _by_the_clock(self: KvServer, request: OpenView, call: Call) -> ViewOpened:
    await self._group.barrier(timeout_ms=ANSWER_SHARE * call.remaining_ms, anywhere=True)
    state = self._store.state
    time_ms = max(state.time_ms, self._world.clock.wall_ms())
    index = self._group.last_applied
    view = self._views.open(time_ms)
    return ViewOpened(view, index, state.revision, len(state.items), time_ms)


async def _before_it_has_all(self: KvServer, request: OpenView, call: Call) -> ViewOpened:
    state = self._store.state
    view, index = self._views.open(state.time_ms), self._group.last_applied
    return ViewOpened(view, index, state.revision, len(state.items), state.time_ms)


def _end_kept(self: State, key: bytes, value: bytes, at_ms: int = 0, *, fits: bool = False) -> int:
    """Of a write without an end."""
    before = self.get(key)
    return _write(self, key, value, at_ms or (before.at_ms if before else 0), fits=fits)


BUGS = (
    PlantedBug(
        "SCAN ends at a page without a match",
        "a page of which no key matches is taken for the last one",
        ((keys, "scanned", _ends_without_a_match),),
        "keys",
    ),
    PlantedBug(
        "local reads from a cache",
        "what was read after READONLY is remembered, key by key",
        ((RespConnection, "_read_on", _from_a_cache),),
        "keys",
    ),
    PlantedBug(
        "READWRITE forgotten",
        "a connection that has read locally once goes on doing so",
        ((RespConnection, "_batch", _local_for_good),),
        "keys",
    ),
    PlantedBug(
        "view not frozen",
        "each piece of a view is what is there when it is asked for",
        ((Views, "open", _not_frozen),),
        "keys",
    ),
    PlantedBug(
        "view of an old state",
        "a node gives a view of what it has, without asking whether that is all",
        ((KvServer, "_open_view", _before_it_has_all),),
        "keys",
    ),
    PlantedBug(
        "ends in a view by local clock",
        "a view leaves out what has ended by the clock of the node that holds it",
        ((KvServer, "_open_view", _by_the_clock),),
        "keys",
    ),
    PlantedBug(
        "SET keeps the end",
        "a value that is written without an end keeps the one that was there",
        ((State, "write", _end_kept),),
        "keys",
    ),
)
