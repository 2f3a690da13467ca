"""Planted bugs of exactly-once: thesis §6.3."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from quorate.base.errors import DeadlineExceeded, Maybe, QuorateError
from quorate.raft.client import GroupClient
from quorate.raft.core.entries import Entry
from quorate.raft.group import Group
from quorate.raft.proposals import Answer
from quorate.raft.sessions import SessionCommand, SessionMachine, _Session
from quorate.simulator.planted.patching import PlantedBug

ATTEMPT_MS = 200

_submit_all = Group.submit_all
_apply_entry = Group._apply_entry
_expire = SessionMachine._expire
_numbered = GroupClient._numbered


def _never_known(self: _Session, command: SessionCommand) -> None:
    return None


class _Remembered:
    """One submission, and all who have asked for it."""

    def __init__(self, forget: Callable[[], object]) -> None:
        self._forget = forget
        self.waiting: list[Answer] = []
        self.value: Any = None

    def resolve(self, value: Any) -> None:
        self.value = value
        for answer in self.waiting:
            answer.resolve(value)

    def fail(self, error: QuorateError) -> None:
        self._forget()
        for answer in self.waiting:
            answer.fail(error)


def _submit_once(self: Group, commands: Sequence[bytes], answer: Answer) -> None:
    """The leader remembers the answers, in its own memory."""
    table: dict[tuple[bytes, ...], _Remembered] = self.__dict__.setdefault("planted_table", {})
    key = tuple(commands)
    known = table.get(key)
    if known is None:
        known = _Remembered(lambda: table.pop(key, None))
        _submit_all(self, commands, known)
        table[key] = known
    if known.value is None:
        known.waiting.append(answer)
    else:  # in a later turn, as answers come
        asyncio.get_running_loop().call_soon(answer.resolve, known.value)


def _look_at_the_clock(self: Group, entry: Entry) -> int:
    self._sessions.__dict__["planted_wall_ms"] = self._world.clock.wall_ms()
    return _apply_entry(self, entry)


def _expire_by_clock(self: SessionMachine, time_ms: int) -> None:
    _expire(self, max(time_ms, self.__dict__.get("planted_wall_ms", 0)))


async def _under_a_new_number(
    self: GroupClient, session: int, body: bytes, deadline_ms: float
) -> bytes:
    while True:
        soon_ms = self._world.clock.monotonic_ms() + ATTEMPT_MS
        try:
            return await _numbered(self, session, body, min(soon_ms, deadline_ms))
        except (Maybe, DeadlineExceeded):
            if soon_ms >= deadline_ms:
                raise


BUGS = (
    PlantedBug(
        "session table not replicated",
        "only the leader that was asked knows which commands it has seen",
        (
            (_Session, "known", _never_known),
            (Group, "submit_all", _submit_once),
        ),
    ),
    PlantedBug(
        "session expired by local clock",
        "each replica drops idle sessions by its own clock, not by log time",
        (
            (Group, "_apply_entry", _look_at_the_clock),
            (SessionMachine, "_expire", _expire_by_clock),
        ),
    ),
    PlantedBug(
        "another sequence number for another attempt",
        "a client that got no answer in time asks again under a new number",
        ((GroupClient, "_numbered", _under_a_new_number),),
    ),
)
