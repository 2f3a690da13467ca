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
* The table's memory is bounded by ``MAX_SESSIONS`` and, for each, by ``MAX_OUTSTANDING`` answers; a
  client that keeps up leaves as many as it has in flight.  Nearly all are small: a number, a
  status, a sentence.  Large ones (a value that was taken) are kept up to ``MAX_LARGE_BYTES`` in all
  sessions; of who was not active for longest they are forgotten, and who asks again is told
  *maybe*.  Answers to queries are not kept.
* A session that a snapshot may show is copied before it changes.  The snapshot takes a list of the
  table's sessions, for 100,000 of them in 2 to 3 ms.

The wrapper is itself a ``StateMachine``, and it also holds the group's feature level.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from quorate.base.check import check
from quorate.base.checksum import crc32c, stable_hash
from quorate.base.codec import UNREADABLE, encode, outcome_of
from quorate.base.errors import BadInput, CorruptData, Maybe, Overloaded, SessionExpired
from quorate.base.machine import RECORDS_PER_PAUSE, Meta, StateMachine
from quorate.base.sometimes import sometimes
from quorate.base.stream import next_record, pack_records, unpack_records

SESSION_IDLE_MS = 60 * 60 * 1000
MAX_SESSIONS = 100_000
MAX_OUTSTANDING = 1024
"""Answers that are kept for one session because its client has not yet confirmed them."""

LARGE_BYTES = 16 * 1024
"""Answers above this are counted in bytes, too."""
MAX_LARGE_BYTES = 128 << 20
"""Of all such answers; beyond that, half of it goes."""

MAX_STALE = 1024
"""Sessions whose digest is behind: so that bringing it up to date takes a few milliseconds."""

MAX_DROPPED = 1000
"""Expired sessions that go with one batch: if they are more, the rest goes with the next ones."""

MAX_COMMAND_BYTES = 512 * 1024
WRAPPING_BYTES = 64
"""What ``SessionCommand`` adds to its body, generously."""

SUPPORTED_FEATURE_LEVEL = 1
"""The highest feature level that this build understands."""


class OpenSession(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag=1):
    """Answered with the id of a new session."""


class SessionCommand(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag=2, gc=False):
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

_OF_CLIENTS = {encode(OpenSession())[:2], encode(SessionCommand(0, 0, 0, b""))[:2]}
"""How what clients may propose begins: the number of its fields, and its tag."""


_decoder = msgspec.msgpack.Decoder(WrappedCommand)

_APPLYING = b""
"""Stands for the answer to a command while the entry is applied that brought it."""
_GIVEN_UP = outcome_of(Maybe("this command was given up by its client; it is not applied"))
_FORGOTTEN = outcome_of(
    Maybe("this command was applied, and its answer was too large to be kept until now")
)
_TOO_MANY = outcome_of(
    Overloaded(f"a session may have {MAX_OUTSTANDING} unconfirmed commands; wait")
)
_EXPIRED = outcome_of(
    SessionExpired(
        "the client's session has expired: whether the command was applied before"
        " cannot be known; look at the state, then try again"
    )
)


class _Session(msgspec.Struct, gc=False):
    """A client's session, which the table has under its number: small, since there are many."""

    active_ms: int
    epoch: int
    """Snapshots taken before this object was made: later ones may show it."""
    acknowledged: int = 0
    replies: dict[int, bytes] | None = None
    """Those that are not acknowledged, if there are any."""

    def copy(self, epoch: int) -> "_Session":
        replies = self.replies.copy() if self.replies is not None else None
        return _Session(self.active_ms, epoch, self.acknowledged, replies)

    def expiry_ms(self) -> int:
        return self.active_ms + SESSION_IDLE_MS

    def digest(self, number: int) -> int:
        item = encode((number, self.active_ms, self.acknowledged))
        replies = self.replies or {}
        return stable_hash(item + encode([(n, crc32c(replies[n])) for n in sorted(replies)]))

    def confirm(self, acknowledged: int) -> None:
        """The client has the answers up to this number."""
        first, self.acknowledged = self.acknowledged + 1, acknowledged
        replies = self.replies
        if replies is None:
            return
        if acknowledged - first < len(replies):
            for sequence in range(first, acknowledged + 1):
                replies.pop(sequence, None)
        else:
            replies = {s: reply for s, reply in replies.items() if s > acknowledged}
        self.replies = replies or None

    def keep(self, sequence: int, reply: bytes) -> None:
        """For a client that may ask again; nobody does, once the number is acknowledged."""
        replies = self.replies
        if replies is not None and sequence in replies:
            replies[sequence] = reply

    def known(self, command: SessionCommand) -> bytes | None:
        """The answer, if the command must not be applied, or ``_APPLYING`` if that is under way;
        ``None`` if it must be."""
        if command.acknowledged > self.acknowledged:
            self.confirm(command.acknowledged)
        sequence, replies = command.sequence, self.replies
        if sequence <= self.acknowledged:
            return _GIVEN_UP
        if replies is None:
            self.replies = {sequence: _APPLYING}
            return None
        reply = replies.get(sequence)
        if reply is not None:
            if reply is not _APPLYING:
                sometimes("duplicate answered from the session table")
            return reply
        if len(replies) >= MAX_OUTSTANDING:
            return _TOO_MANY
        replies[sequence] = _APPLYING
        return None


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
        self._epoch = 0
        self._none_expires_before_ms = 0
        """A bound that is cheap to ask: to look for a dict's first entry takes the longer, the
        more was taken from its front."""
        self._table_digest = 0
        """The sum of the sessions' own digests, modulo 2**64, except for those that are stale."""
        self._stale: dict[int, None] = {}
        """Changed since they were last in that sum: asking is rare, and changes are not."""
        self._large: dict[int, int] = {}
        """The sessions that keep large answers, and how many bytes of them."""

    def apply_batch(self, meta: Meta, commands: Sequence[bytes]) -> list[bytes]:
        self._expire(meta.time_ms)
        replies: list[bytes] = [b""] * len(commands)
        fresh: list[tuple[int, _Session | None, int]] = []  # position, session, sequence
        bodies: list[bytes] = []
        again: list[tuple[int, _Session, int]] = []
        active: dict[int, _Session | None] = {}  # the sessions that this entry has commands of
        for position, raw in enumerate(commands):
            command = self._decode(raw)
            if not isinstance(command, SessionCommand):
                replies[position] = self._without_session(meta, position, command)
                for gone in [number for number in active if number not in self._sessions]:
                    del active[gone]  # a new session may have taken its place
                continue
            number, sequence = command.session, command.sequence
            session = None
            if number:
                session = active[number] if number in active else self._touch(number, meta, active)
                reply = _EXPIRED if session is None else session.known(command)
                if session is not None and reply is _APPLYING:
                    again.append((position, session, sequence))
                    continue
                if reply is not None:
                    replies[position] = reply
                    continue
            fresh.append((position, session, sequence))
            bodies.append(command.body)
        meta = Meta(meta.index, meta.term, meta.time_ms, self.feature_level)
        applied = self.inner.apply_batch(meta, bodies)
        is_more = False
        for (position, session, sequence), reply in zip(fresh, applied, strict=True):
            replies[position] = reply
            if session is not None:
                session.keep(sequence, reply)
                is_more = is_more or len(reply) > LARGE_BYTES
        for position, session, sequence in again:
            replies[position] = (session.replies or {}).get(sequence, _GIVEN_UP)
        if is_more or self._large:
            self._bound_large(active, is_more=is_more)
        if len(self._stale) > MAX_STALE:
            self._settle()
        return replies

    def _without_session(
        self, meta: Meta, position: int, command: OpenSession | SetFeatureLevel | None
    ) -> bytes:
        match command:
            case None:
                return outcome_of(BadInput("not a command of this group"))
            case OpenSession():
                return self._open(meta, position)
            case SetFeatureLevel(level):
                return self._set_feature_level(level)

    def _decode(self, raw: bytes) -> WrappedCommand | None:
        """``None`` for what no client of ours sends: refused by every replica alike."""
        try:
            command: WrappedCommand = _decoder.decode(raw)
        except UNREADABLE:
            return None
        return command

    def _open(self, meta: Meta, position: int) -> bytes:
        while len(self._sessions) >= MAX_SESSIONS:
            self._drop(next(iter(self._sessions)))
        number = (meta.index << 16) | position
        self._sessions[number] = _Session(meta.time_ms, self._epoch)
        self._stale[number] = None
        return outcome_of(number)

    def _set_feature_level(self, level: int) -> bytes:
        check(level <= SUPPORTED_FEATURE_LEVEL, f"feature level {level} is newer than this build")
        self.feature_level = max(self.feature_level, level)
        return outcome_of(self.feature_level)

    def _bound_large(self, active: dict[int, _Session | None], *, is_more: bool) -> None:
        """After an entry of these sessions: forget what is too much.  ``is_more``: one of them may
        have got a large answer."""
        for number, session in active.items():
            if session is not None and (is_more or number in self._large):
                self._large[number] = _large_bytes(session.replies)
                if not self._large[number]:
                    del self._large[number]
        total = sum(self._large.values())
        if total <= MAX_LARGE_BYTES:
            return
        # An order that a replica made from a snapshot has as well.
        for number in sorted(self._large, key=lambda n: (self._sessions[n].active_ms, n)):
            session = self._to_change(number)
            session.replies = {
                sequence: reply if len(reply) <= LARGE_BYTES else _FORGOTTEN
                for sequence, reply in (session.replies or {}).items()
            }
            total -= self._large.pop(number)
            if total <= MAX_LARGE_BYTES // 2:
                break

    def _to_change(self, number: int) -> _Session:
        """The session, whose digest will be behind, and which no snapshot shows."""
        session = self._sessions[number]
        if number not in self._stale:
            self._table_digest -= session.digest(number)
            self._stale[number] = None
        if session.epoch != self._epoch:
            session = self._sessions[number] = session.copy(self._epoch)
        return session

    def _touch(
        self, number: int, meta: Meta, active: dict[int, _Session | None]
    ) -> _Session | None:
        """The session of the first command that an entry has of it, as the most recently active;
        ``None`` if it is gone."""
        session = self._sessions.get(number)
        if session is None or session.expiry_ms() <= meta.time_ms:
            sometimes("expired session")
            session = None
        else:
            session = self._to_change(number)
            del self._sessions[number]
            self._sessions[number] = session
            session.active_ms = meta.time_ms
        active[number] = session
        return session

    def _expire(self, time_ms: int) -> None:
        if time_ms < self._none_expires_before_ms:
            return
        dropped: list[int] = []
        self._none_expires_before_ms = time_ms + SESSION_IDLE_MS
        for number, session in self._sessions.items():
            if session.expiry_ms() > time_ms or len(dropped) == MAX_DROPPED:
                self._none_expires_before_ms = session.expiry_ms()
                break
            dropped.append(number)
        for session_id in dropped:
            self._drop(session_id)

    def _drop(self, session_id: int) -> None:
        session = self._sessions.pop(session_id)
        self._large.pop(session_id, None)
        if session_id in self._stale:
            del self._stale[session_id]
        else:
            self._table_digest -= session.digest(session_id)

    def query(self, request: bytes) -> bytes:
        return self.inner.query(request)

    def snapshot(self) -> Iterator[bytes]:
        sessions = list(self._sessions.items())
        self._epoch += 1
        header = _Header(1, len(sessions), self.feature_level)
        inner = self.inner.snapshot()

        def stream() -> Iterator[bytes]:
            yield encode(header)
            for number, s in sessions:
                yield encode(_Record(number, s.active_ms, s.acknowledged, s.replies or {}))
            yield from inner

        return pack_records(stream())

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        records = unpack_records(stream)
        header: _Header = next_record(records, _Header)
        if header.version != 1 or header.feature_level > SUPPORTED_FEATURE_LEVEL:
            raise CorruptData(f"a snapshot of version {header.version} is newer than this build")
        sessions: dict[int, _Session] = {}
        large: dict[int, int] = {}
        digest = work = 0
        for _ in range(header.sessions):
            record: _Record = next_record(records, _Record)
            if record.session in sessions:
                raise CorruptData("a session stands twice in a snapshot; fetch it again")
            session = _Session(
                record.active_ms, self._epoch, record.acknowledged, record.replies or None
            )
            sessions[record.session] = session
            if size := _large_bytes(session.replies):
                large[record.session] = size
            digest += session.digest(record.session)
            work += 1 + len(record.replies)
            if work >= RECORDS_PER_PAUSE:
                work = 0
                yield
        yield from self.inner.restore(records)
        self.feature_level = header.feature_level
        self._sessions, self._stale, self._table_digest = sessions, {}, digest
        self._large = large
        self._none_expires_before_ms = min((s.expiry_ms() for s in sessions.values()), default=0)

    def digest(self) -> int:
        self._settle()
        return (self.inner.digest() + self._table_digest + self.feature_level) & ((1 << 64) - 1)

    def _settle(self) -> None:
        """Bring the digest of the table up to date."""
        for number in self._stale:
            self._table_digest += self._sessions[number].digest(number)
        self._stale.clear()

    def next_deadline_ms(self) -> int | None:
        inner = self.inner.next_deadline_ms()
        if not self._sessions:
            return inner
        own = self._none_expires_before_ms
        return own if inner is None else min(own, inner)


def wrap(session: int, sequence: int, acknowledged: int, body: bytes) -> bytes:
    """A command as it goes into the log; raises ``BadInput`` if it is too large for one."""
    if len(body) > MAX_COMMAND_BYTES:
        raise BadInput(
            f"a command of {len(body)} bytes; one log entry takes {MAX_COMMAND_BYTES} at most"
        )
    return encode(SessionCommand(session, sequence, acknowledged, body))


def _large_bytes(replies: dict[int, bytes] | None) -> int:
    """Of the large ones among them."""
    if replies is None:
        return 0
    return sum([len(reply) for reply in replies.values() if len(reply) > LARGE_BYTES])


def unwrapped(commands: Sequence[bytes]) -> list[bytes] | None:
    """The bodies of commands that all came without a session; ``None`` if one did not."""
    bodies = list[bytes]()
    for raw in commands:
        try:
            command = _decoder.decode(raw)
        except UNREADABLE:
            return None
        if not isinstance(command, SessionCommand) or command.session:
            return None
        bodies.append(command.body)
    return bodies


def admit(command: bytes) -> None:
    """Raise ``BadInput`` for what no client may have appended: a feature level, which would stop
    every replica that does not know it, and what is larger than ``wrap`` makes it, which no leader
    could send to its followers.  What else cannot be read is refused when it is applied."""
    if len(command) > MAX_COMMAND_BYTES + WRAPPING_BYTES:
        raise BadInput(
            f"a wrapped command of {len(command)} bytes; one log entry takes"
            f" {MAX_COMMAND_BYTES + WRAPPING_BYTES} at most"
        )
    if command[:2] not in _OF_CLIENTS:
        raise BadInput("not a command that a client may propose")
