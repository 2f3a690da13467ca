"""Exactly-once, built once: the session wrapper around every state machine (thesis §6.3).

Rules:
* A client opens a session through the log; its id is unique for ever (index and position).
* Each command carries session, sequence number and the highest number below which the client has
  all its answers.  A number that was applied is answered from the table, not applied again.
* The table is part of the replicated state: it survives restarts and changes of leader, and it is
  in every snapshot.
* A session that was idle for ``SESSION_IDLE_MS`` of log time, or that had to make room, is gone.
  A command of a session that is gone is answered ``SessionExpired``, a *maybe*: whether an earlier
  attempt was applied is no longer known, so it is neither applied nor is the session made anew.
* Commands that are idempotent by themselves may come without a session (``session == 0``).

The wrapper is itself a ``StateMachine``, and it also holds the group's feature level.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from quorate.base.check import check
from quorate.base.checksum import SetDigest, crc32c
from quorate.base.codec import decode, encode, outcome_of
from quorate.base.errors import BadInput, CorruptData, Maybe, Overloaded, SessionExpired
from quorate.base.machine import Meta, StateMachine
from quorate.base.stream import pack_records, unpack_records

SESSION_IDLE_MS = 60 * 60 * 1000
MAX_SESSIONS = 100_000
MAX_OUTSTANDING = 1024
"""Answers that are kept for one session because its client has not yet confirmed them."""

MAX_COMMAND_BYTES = 512 * 1024
WRAPPING_BYTES = 64
"""What ``SessionCommand`` adds to its body, generously."""

SUPPORTED_FEATURE_LEVEL = 1
"""The highest feature level that this build understands."""


class OpenSession(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag=1):
    """Answered with the id of a new session."""


class SessionCommand(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag=2):
    """``body`` goes to the state machine, once."""

    session: int
    sequence: int
    """1, 2, … within the session."""
    acknowledged: int
    """The client has the answers of all numbers up to this one and will not ask again."""
    body: bytes


class SetFeatureLevel(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag=3):
    """From here on the group may use what this level brought; it never goes back."""

    level: int


WrappedCommand: TypeAlias = OpenSession | SessionCommand | SetFeatureLevel

_of_clients = msgspec.msgpack.Decoder(OpenSession | SessionCommand)


class _Session:
    __slots__ = ("acknowledged", "active_ms", "replies", "session")

    def __init__(self, session: int, active_ms: int) -> None:
        self.session = session
        self.active_ms = active_ms
        self.acknowledged = 0
        self.replies: dict[int, bytes] = {}

    def item(self) -> bytes:
        """What stands for this session in the digest; the replies are added one by one."""
        return encode((self.session, self.active_ms, self.acknowledged))


class _Record(msgspec.Struct, array_like=True):
    """A session in a snapshot."""

    session: int
    active_ms: int
    acknowledged: int
    replies: dict[int, bytes]


class _Header(msgspec.Struct, array_like=True):
    """The first record of a snapshot."""

    version: int
    sessions: int
    feature_level: int


class SessionMachine:
    """A state machine that applies each command of a session once."""

    def __init__(self, inner: StateMachine) -> None:
        self.inner = inner
        self.feature_level = 1
        self._sessions: dict[int, _Session] = {}  # in order of last activity, oldest first
        self._digest = SetDigest()
        self._decoder = msgspec.msgpack.Decoder(WrappedCommand)

    def apply_batch(self, meta: Meta, commands: Sequence[bytes]) -> list[bytes]:
        self._expire(meta.time_ms)
        replies: list[bytes] = [b""] * len(commands)
        fresh: dict[int, dict[int, int]] = {}  # session -> sequence -> position that applies it
        again: list[tuple[int, int]] = []  # (position, position that applies it)
        bodies: list[tuple[int, bytes]] = []
        for position, raw in enumerate(commands):
            command = self._decode(raw)
            match command:
                case None:
                    replies[position] = outcome_of(BadInput("not a command of this group"))
                case OpenSession():
                    replies[position] = self._open(meta, position)
                case SetFeatureLevel(level):
                    replies[position] = self._set_feature_level(level)
                case SessionCommand(0, _, _, body):
                    bodies.append((position, body))
                case SessionCommand(session, sequence, body=body):
                    applying = fresh.setdefault(session, {})
                    if sequence in applying:  # sent twice, and both came into one entry
                        again.append((position, applying[sequence]))
                    elif (known := self._known(meta, command, len(applying))) is not None:
                        replies[position] = known
                    else:
                        applying[sequence] = position
                        bodies.append((position, body))
        meta = Meta(meta.index, meta.term, meta.time_ms, self.feature_level)
        inner_replies = self.inner.apply_batch(meta, [body for _, body in bodies])
        for (position, _), reply in zip(bodies, inner_replies, strict=True):
            replies[position] = reply
        for session, applied_now in fresh.items():
            for sequence, position in applied_now.items():
                self._remember(session, sequence, replies[position])
        for position, applied in again:
            replies[position] = replies[applied]
        return replies

    def _decode(self, raw: bytes) -> WrappedCommand | None:
        """``None`` for what no client of ours sends: refused by every replica alike."""
        try:
            command: WrappedCommand = self._decoder.decode(raw)
        except msgspec.DecodeError:
            return None
        return command

    def _open(self, meta: Meta, position: int) -> bytes:
        while len(self._sessions) >= MAX_SESSIONS:
            self._drop(next(iter(self._sessions)))
        session = _Session((meta.index << 16) | position, meta.time_ms)
        self._sessions[session.session] = session
        self._digest.add(session.item())
        return outcome_of(session.session)

    def _set_feature_level(self, level: int) -> bytes:
        check(level <= SUPPORTED_FEATURE_LEVEL, f"feature level {level} is newer than this build")
        self.feature_level = max(self.feature_level, level)
        return outcome_of(self.feature_level)

    def _known(self, meta: Meta, command: SessionCommand, applying: int) -> bytes | None:
        """The answer, if the command must not be applied; ``None`` if it must.

        ``applying``: the session's commands that the same entry applies before this one.
        """
        session = self._sessions.pop(command.session, None)
        if session is None:
            return outcome_of(
                SessionExpired(
                    "the client's session has expired: whether the command was applied before"
                    " cannot be known; look at the state, then try again"
                )
            )
        self._sessions[command.session] = session  # now the most recently active
        self._digest.remove(session.item())
        session.active_ms = meta.time_ms
        if command.acknowledged > session.acknowledged:
            session.acknowledged = command.acknowledged
            for done in [s for s in session.replies if s <= command.acknowledged]:
                self._digest.remove(_reply_item(session.session, done, session.replies.pop(done)))
        self._digest.add(session.item())
        if command.sequence <= session.acknowledged:
            return outcome_of(Maybe("this command was given up by its client; it is not applied"))
        if (reply := session.replies.get(command.sequence)) is not None:
            return reply
        if len(session.replies) + applying >= MAX_OUTSTANDING:
            return outcome_of(
                Overloaded(f"a session may have {MAX_OUTSTANDING} unconfirmed commands; wait")
            )
        return None

    def _remember(self, session: int, sequence: int, reply: bytes) -> None:
        known = self._sessions.get(session)
        if known is None or sequence <= known.acknowledged:
            return  # the same entry made room, or says that the client has given it up
        known.replies[sequence] = reply
        self._digest.add(_reply_item(session, sequence, reply))

    def _expire(self, time_ms: int) -> None:
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if oldest.active_ms + SESSION_IDLE_MS > time_ms:
                return
            self._drop(oldest.session)

    def _drop(self, session_id: int) -> None:
        session = self._sessions.pop(session_id)
        self._digest.remove(session.item())
        for sequence, reply in session.replies.items():
            self._digest.remove(_reply_item(session_id, sequence, reply))

    def query(self, request: bytes) -> bytes:
        return self.inner.query(request)

    def snapshot(self) -> Iterator[bytes]:
        records = [
            _Record(s.session, s.active_ms, s.acknowledged, dict(s.replies))
            for s in self._sessions.values()
        ]
        header = _Header(1, len(records), self.feature_level)
        inner = self.inner.snapshot()

        def stream() -> Iterator[bytes]:
            yield encode(header)
            yield from map(encode, records)
            yield from inner

        return pack_records(stream())

    def restore(self, stream: Iterable[bytes]) -> None:
        records = unpack_records(stream)
        header: _Header = _next(records, _Header)
        if header.version != 1 or header.feature_level > SUPPORTED_FEATURE_LEVEL:
            raise CorruptData(f"a snapshot of version {header.version} is newer than this build")
        self.feature_level = header.feature_level
        self._sessions, self._digest = {}, SetDigest()
        for _ in range(header.sessions):
            record: _Record = _next(records, _Record)
            session = _Session(record.session, record.active_ms)
            session.acknowledged, session.replies = record.acknowledged, record.replies
            self._sessions[record.session] = session
            self._digest.add(session.item())
            for sequence, reply in record.replies.items():
                self._digest.add(_reply_item(record.session, sequence, reply))
        self.inner.restore(records)

    def digest(self) -> int:
        return (self.inner.digest() + self._digest.value + self.feature_level) & ((1 << 64) - 1)

    def next_deadline_ms(self) -> int | None:
        inner = self.inner.next_deadline_ms()
        if not self._sessions:
            return inner
        own = next(iter(self._sessions.values())).active_ms + SESSION_IDLE_MS
        return own if inner is None else min(own, inner)


def _next(records: Iterator[bytes], kind: type[Any]) -> Any:
    try:
        return decode(next(records, b""), kind)
    except msgspec.DecodeError:
        raise CorruptData("a snapshot is cut short or damaged; fetch it again") from None


def _reply_item(session: int, sequence: int, reply: bytes) -> bytes:
    return encode((session, sequence, crc32c(reply)))


def wrap(session: int, sequence: int, acknowledged: int, body: bytes) -> bytes:
    """A command as it goes into the log; raises ``BadInput`` if it is too large for one."""
    if len(body) > MAX_COMMAND_BYTES:
        raise BadInput(
            f"a command of {len(body)} bytes; one log entry takes {MAX_COMMAND_BYTES} at most"
        )
    return encode(SessionCommand(session, sequence, acknowledged, body))


def admit(command: bytes) -> None:
    """Raise ``BadInput`` for what no client may have appended: bytes that are no command, a
    feature level, which would stop every replica that does not know it, and what is larger than
    ``wrap`` makes it, which no leader could send to its followers."""
    if len(command) > MAX_COMMAND_BYTES + WRAPPING_BYTES:
        raise BadInput(
            f"a wrapped command of {len(command)} bytes; one log entry takes"
            f" {MAX_COMMAND_BYTES + WRAPPING_BYTES} at most"
        )
    try:
        _of_clients.decode(command)
    except msgspec.DecodeError:
        raise BadInput("not a command that a client may propose") from None
