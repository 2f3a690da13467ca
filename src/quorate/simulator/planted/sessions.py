"""Planted bugs of exactly-once: thesis §6.3."""

from typing import Any

from quorate.base.errors import DeadlineExceeded, Maybe
from quorate.raft.client import GroupClient
from quorate.raft.core.entries import Entry
from quorate.raft.group import Group
from quorate.raft.sessions import SessionCommand, SessionMachine
from quorate.simulator.planted.patching import PlantedBug

ATTEMPT_MS = 200

_submit = Group.submit
_apply_entry = Group._apply_entry
_expire = SessionMachine._expire
_numbered = GroupClient._numbered


def _never_known(
    self: SessionMachine, meta: object, command: SessionCommand, applying: int
) -> None:
    return None


def _not_remembered(self: SessionMachine, session: int, sequence: int, reply: bytes) -> None:
    return None


def _submit_once(self: Group, command: bytes) -> Any:
    """The leader remembers the answers, in its own memory."""
    table: dict[bytes, Any] = self.__dict__.setdefault("planted_table", {})
    known = table.get(command)
    if known is None or known.cancelled() or (known.done() and known.exception() is not None):
        known = table[command] = _submit(self, command)
    return known


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
            (SessionMachine, "_known", _never_known),
            (SessionMachine, "_remember", _not_remembered),
            (Group, "submit", _submit_once),
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
