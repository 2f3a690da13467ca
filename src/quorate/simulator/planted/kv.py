"""Planted bugs of the key/value store and of its gateway."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from quorate.base.errors import Maybe, NotLeader, QuorateError, Unavailable
from quorate.base.machine import Meta
from quorate.gateways.resp.connection import RespConnection
from quorate.kv.core import snapshot
from quorate.kv.core.commands import (
    Changed,
    Condition,
    Entry,
    Event,
    HasRevision,
    HasValue,
    Transact,
    Transacted,
    Untouched,
)
from quorate.kv.core.history import Happening, History
from quorate.kv.core.state import State
from quorate.kv.core.store import Store
from quorate.kv.messages import Watch
from quorate.kv.server import KvServer
from quorate.kv.service import PAUSE_MS, Done, KvService, _Batch
from quorate.raft.core.entries import Entry as LogEntry
from quorate.raft.group import Group
from quorate.raft.messages import Propose
from quorate.raft.sessions import SessionCommand, _Session
from quorate.rpc.server import Call
from quorate.simulator.planted.patching import PlantedBug

_transact = KvService.transact
_settled = RespConnection.settled
_apply_entry = Group._apply_entry
_expire = Store.expire
_holds = Store._holds
_take_back = State.take_back
_new_cursor = State.new_cursor
_read = snapshot.read
_add = History.add
_after = History.after
_watch = KvServer._watch


# Transactions.


def _in_two_entries(self: KvService, command: Transact, done: Done) -> None:
    def looked(outcome: Any) -> None:
        if isinstance(outcome, QuorateError) or not outcome.held:
            return done(outcome)

        def applied(replies: Any) -> None:
            if isinstance(replies, QuorateError):
                return done(replies)
            done(Transacted(True, self.store.state.revision, replies))

        self.apply(command.then, 1_000, applied)

    _transact(self, Transact(command.conditions, [], command.otherwise, whole=False), looked)


def _one_by_one(self: KvService, command: Transact, done: Done) -> None:
    if command.conditions or not command.then:
        return _transact(self, command, done)
    replies: list[Any] = []

    def applied(outcome: Any) -> None:
        if isinstance(outcome, QuorateError):
            return done(Maybe(outcome.message) if replies else outcome)
        replies.extend(outcome)
        if len(replies) < len(command.then):
            self.apply(command.then[len(replies) :][:1], 1_000, applied)
        else:
            done(Transacted(True, self.store.state.revision, replies))

    self.apply(command.then[:1], 1_000, applied)


def _remember_values(
    self: RespConnection, then: Callable[[], None], failed: Callable[[], None] | None = None
) -> None:
    def watched() -> None:
        then()
        values = self.service.__dict__.setdefault("planted_values", {})
        for key, since in (self.transaction.watched if self.transaction else {}).items():
            item = self.store.state.get(key)
            values.setdefault((key, since), item.value if item is not None else None)

    _settled(self, watched, failed)


def _compare_values(self: KvService, command: Transact, done: Done) -> None:
    values = self.__dict__.get("planted_values", {})
    conditions: list[Condition] = [
        HasValue(it.key, values[it.key, it.since])
        if isinstance(it, Untouched) and (it.key, it.since) in values
        else it
        for it in command.conditions
    ]
    _transact(self, Transact(conditions, command.then, command.otherwise, command.whole), done)


def _never_deleted(self: History, key: bytes, since: int) -> bool:
    return False


def _is_held_by_somebody(self: Store, condition: Condition) -> bool:
    if isinstance(condition, HasRevision) and condition.revision:
        return self.state.get(condition.key) is not None
    return _holds(self, condition)


def _without_ends(self: State) -> None:
    self._before = [
        (key, it and Entry(key, it.value, it.revision)) for key, it in self._before or []
    ]
    _take_back(self)


def _leave_it(self: State) -> None:
    self._before = None


# At most once, and reads.


def _ask_again(self: _Batch, error: QuorateError) -> None:
    if isinstance(error, NotLeader | Maybe):
        self._service.forward(self)
    else:
        self.end(error)


async def _forward_again(self: KvService, batch: _Batch) -> None:
    clock = self._world.clock
    if self.group.is_leader:  # it hands over
        await clock.sleep(PAUSE_MS)
    while (left_ms := batch.deadline_ms - clock.monotonic_ms()) > PAUSE_MS:
        with suppress(NotLeader):
            if self.group.is_leader:
                return self.group.submit_all(batch.data(), batch)
        if (leader := self.group.leader_address) is not None:
            request = Propose(self.group.group, batch.data())
            try:
                timeout_ms = min(left_ms, 200.0)
                return batch.resolve(await self._rpc.call(leader, request, timeout_ms=timeout_ms))
            except (Unavailable, Maybe):
                pass
        await clock.sleep(PAUSE_MS)
    batch.end(Maybe("no answer in time"))


def _never_known(self: _Session, command: SessionCommand) -> None:
    return None


def _at_once(self: KvService, done: Done) -> None:
    asyncio.get_running_loop().call_soon(done, None)


# Time.


def _look_at_the_clock(self: Group, entry: LogEntry) -> int:
    self.machine.__dict__["planted_wall_ms"] = self._world.clock.wall_ms()
    return _apply_entry(self, entry)


def _expire_by_clock(self: Store, meta: Meta) -> None:
    wall_ms = self.__dict__.get("planted_wall_ms", 0)
    _expire(self, Meta(meta.index, meta.term, max(meta.time_ms, wall_ms)))


def _nothing_is_due(self: State) -> None:
    return None


# Snapshots.


def _restored_with(
    change: Callable[[State], None],
) -> Callable[[Iterable[bytes], State], Iterator[None]]:
    def read(stream: Iterable[bytes], state: State) -> Iterator[None]:
        yield from _read(stream, state)
        change(state)

    return read


def _entries(state: State) -> list[Entry]:
    return [entry for _, entry in state.items.table.freeze()]


def _last_change(state: State) -> None:
    state.revision = max((entry.revision for entry in _entries(state)), default=0)


def _no_ends(state: State) -> None:
    for entry in _entries(state):
        state.items.put(Entry(entry.key, entry.value, entry.revision))


def _no_events(state: State) -> None:
    state.history.restore([], 0)


# Watches and scans.


def _trimmed_in_silence(
    self: History, events: list[Happening], size: int, deletes: list[Event]
) -> None:
    forgotten = self.forgotten
    _add(self, events, size, deletes)
    self.forgotten = forgotten


def _cut_anywhere(
    self: History, since: int, start: bytes, end: bytes | None, limit: int, now: int
) -> Changed:
    found = _after(self, since, start, end, 1 << 30, now)
    if len(found.events) <= limit:
        return found
    return Changed(found.events[:limit], found.events[limit - 1].revision)


async def _from_now_on(self: KvServer, request: Watch, call: Call) -> Changed:
    term = self._group.term
    if self.__dict__.setdefault("planted_term", term) != term:
        self.__dict__["planted_term"] = term
        revision = max(request.since, self._store.state.revision)
        request = Watch(revision, request.start, request.end, request.limit)
    return await _watch(self, request, call)


def _behind_the_next(self: State, key: bytes) -> int:
    return _new_cursor(self, key + b"\0")


BUGS = (
    PlantedBug(
        "EXEC in two entries",
        "the conditions of a transaction are looked at in one entry, and it is done in the next",
        ((KvService, "transact", _in_two_entries),),
        "keys",
    ),
    PlantedBug(
        "EXEC as several commands",
        "a transaction without conditions is sent operation by operation",
        ((KvService, "transact", _one_by_one),),
        "keys",
    ),
    PlantedBug(
        "WATCH by value",
        "what is watched is what a key holds, not whether anything happened to it",
        ((RespConnection, "settled", _remember_values), (KvService, "transact", _compare_values)),
        "keys",
    ),
    PlantedBug(
        "touched unless it is gone",
        "a key that was made and deleted again counts as untouched",
        ((History, "deleted_after", _never_deleted),),
        "keys",
    ),
    PlantedBug(
        "fencing token not compared",
        "a condition on a key's revision holds if the key is there",
        ((Store, "_holds", _is_held_by_somebody),),
        "keys",
    ),
    PlantedBug(
        "end of a key forgotten when it is taken back",
        "a refused transaction puts values back, and not their ends",
        ((State, "take_back", _without_ends),),
        "keys",
    ),
    PlantedBug(
        "refused transaction half done",
        "what a transaction changed before it was refused stays",
        ((State, "take_back", _leave_it),),
        "keys",
    ),
    PlantedBug(
        "duplicate applied after failover",
        "a leader that steps down has its clients' commands sent to the next one",
        ((_Batch, "fail", _ask_again),),
        "keys",
    ),
    PlantedBug(
        "forwarded batch sent again after maybe",
        "a follower that gets no answer sends what it has forwarded once more",
        ((KvService, "_forward", _forward_again),),
        "keys",
    ),
    PlantedBug(
        "session table not asked",
        "a command that comes a second time is applied a second time",
        ((_Session, "known", _never_known),),
        "keys",
    ),
    PlantedBug(
        "gateway read without settling",
        "a node answers from its state, however old that is",
        ((KvService, "settle", _at_once),),
        "keys",
    ),
    PlantedBug(
        "keys end by local clock",
        "each replica takes keys away when its own clock says so",
        ((Group, "_apply_entry", _look_at_the_clock), (Store, "expire", _expire_by_clock)),
        "keys",
    ),
    PlantedBug(
        "keys end with the next write only",
        "nobody is told that time has to pass when a key is to end",
        ((State, "next_deadline_ms", _nothing_is_due),),
        "keys",
    ),
    PlantedBug(
        "revision not in the snapshot",
        "who is restored goes on from the newest key's revision",
        ((snapshot, "read", _restored_with(_last_change)),),
        "keys",
    ),
    PlantedBug(
        "ends not in the snapshot",
        "who is restored from a snapshot keeps all keys for ever",
        ((snapshot, "read", _restored_with(_no_ends)),),
        "keys",
    ),
    PlantedBug(
        "events not in the snapshot",
        "who is restored takes nothing for all that has ever happened",
        ((snapshot, "read", _restored_with(_no_events)),),
        "keys",
    ),
    PlantedBug(
        "history trimmed in silence",
        "who asks for what is forgotten is told the rest",
        ((History, "add", _trimmed_in_silence),),
        "keys",
    ),
    PlantedBug(
        "events cut within a revision",
        "an answer ends after so many events, and says that all of the last revision was told",
        ((History, "after", _cut_anywhere),),
        "keys",
    ),
    PlantedBug(
        "watch skips at a leader change",
        "in a new term a watch begins at what this node has",
        ((KvServer, "_watch", _from_now_on),),
        "keys",
    ),
    PlantedBug(
        "scan skips at the end of a page",
        "a cursor stands behind the next key, not in front of it",
        ((State, "new_cursor", _behind_the_next),),
        "keys",
    ),
)
