"""What can be asked of the store: operations on keys, the commands that carry them, and queries.

An *operation* touches the keys that it names and has one reply.  It travels in a command:

* ``Apply``: operations in order, each by itself: one that is refused changes nothing, and the
  others are done all the same.  This is what many callers' operations of one turn are joined to.
* ``Transact``: operations that are done together, if all conditions hold.

Every change gets a *revision*, a number that grows by one with each operation that changes
something; all changes of an operation, or of a transaction, have the same.  A key's revision is
that of its last change.

Times are log time (raft/group.py): a key with a time to live is gone from the first entry on whose
log time is at or behind its end, on all replicas alike, whatever their clocks say.

An operation is a ``msgspec`` array ``[number, field, …]``; a ``value`` may also be a number, that
of an upload: what is larger than ``MAX_INLINE_BYTES`` comes before in pieces (``Stage``), since a
log entry is small enough not to hold up a heartbeat.  Whatever uses an upload, uses it up.

No command takes long: what a few bytes can ask for (appending to a value of 8 MiB, reading it
sixteen thousand times) is counted, and what follows is refused (``MAX_WORK_BYTES``).
"""

from enum import IntEnum
from typing import Any, TypeAlias

import msgspec

from quorate.base.codec import Command, Query, Reply

MAX_KEY_BYTES = 32 * 1024
MAX_VALUE_BYTES = 8 << 20
MAX_INLINE_BYTES = 256 * 1024
"""Of a value inside a command; what is larger is staged."""
MAX_OPERATIONS = 16 * 1024
"""In one command; also keys in one operation."""
MAX_COMMAND_BYTES = 448 * 1024
"""Of all operations in one command, so that it fits a log entry."""
MAX_STAGED_BYTES = 64 << 20
"""Of all uploads that nobody has used yet, with what they take beside their bytes."""
MAX_WORK_BYTES = 2 * MAX_STAGED_BYTES
"""Of large values that one command reads, writes and gives: 50 ms or so."""
MAX_SKIPPED = 1 << 62
"""To where revisions may be moved on; far below what eight bytes hold, and far above any use."""
MAX_PAGE_ENTRIES = 10_000
MAX_PAGE_BYTES = 512 * 1024
"""Of one answer to ``Range`` or ``Changes``; one entry is given even if it is larger."""

Value: TypeAlias = bytes | int


class When(IntEnum):
    """On what a change of a key depends."""

    ALWAYS = 0
    ABSENT = 1
    PRESENT = 2


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """The reply of an operation that changed nothing because it cannot be done."""

    code: str
    """That of the ``QuorateError`` which it is to our own client."""
    message: str


class Operation(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of all."""


# Operations that change something.


class Put(Operation, tag=1):
    """Reply: the revision.  What time to live the key had is gone."""

    key: bytes
    value: Value


class Set(Operation, tag=2):
    """``Put`` with conditions.  Reply: ``[revision, before]``; the revision is 0 if ``when`` did
    not hold, ``before`` the value until then (``None``: there was none, or nobody asked)."""

    key: bytes
    value: Value
    ttl_ms: int = 0
    """From this entry's log time on; 0: none."""
    at_ms: int = 0
    """The same as a log time."""
    keep_ttl: bool = False
    when: When = When.ALWAYS
    give: bool = False


class PutMany(Operation, tag=3):
    """All or, if ``when`` is ``ABSENT`` and one of them is there, none.  Reply: the revision, or 0
    if there were none."""

    pairs: list[tuple[bytes, Value]]
    when: When = When.ALWAYS


class Delete(Operation, tag=4):
    """Reply: how many of them were there."""

    keys: list[bytes]


class Append(Operation, tag=5):
    """Reply: how long the value is now, in bytes."""

    key: bytes
    value: Value


class Add(Operation, tag=6):
    """To a decimal integer of 64 bits; an absent key is 0.  Reply: the sum."""

    key: bytes
    by: int


class AddDecimal(Operation, tag=7):
    """To a decimal fraction; an absent key is 0.  Reply: the sum, as it is stored."""

    key: bytes
    by: bytes


class SetRange(Operation, tag=8):
    """Overwrite from ``offset`` on; a gap is filled with zeros.  Reply: the value's length."""

    key: bytes
    offset: int
    value: Value


class Expire(Operation, tag=9):
    """Give a key an end: ``at_ms``, or ``ttl_ms`` from now.  Reply: 1, or 0 if the key is absent or
    the condition does not hold.  An end that has passed deletes the key.

    ``only``: ``NX`` only if it has none, ``XX`` only if it has one, ``GT`` only if later, ``LT``
    only if earlier than the one it has; none is later than any.  ``XX LT``: both.
    """

    key: bytes
    ttl_ms: int | None = None
    at_ms: int = 0
    only: str = ""


class Persist(Operation, tag=10):
    """Take away the key's end.  Reply: 1, or 0 if it had none."""

    key: bytes


class Take(Operation, tag=11):
    """Reply: the value, deleted; ``None`` if there is none."""

    key: bytes


class GetExpire(Operation, tag=12):
    """Reply: the value, or ``None``.  Its end becomes ``at_ms``, or ``ttl_ms`` from now; or there
    is none any more, with ``persist``."""

    key: bytes
    ttl_ms: int | None = None
    at_ms: int | None = None
    persist: bool = False


class Rename(Operation, tag=13):
    """Reply: 1, or 0 if ``when`` is ``ABSENT`` and ``target`` is there; refused if ``key`` is
    absent."""

    key: bytes
    target: bytes
    when: When = When.ALWAYS


class Copy(Operation, tag=14):
    """Reply: 1, or 0 if ``key`` is absent, or ``target`` is there and not to be replaced."""

    key: bytes
    target: bytes
    replace: bool = False


class Clear(Operation, tag=15):
    """Delete everything.  Reply: how many keys there were."""


class Scan(Operation, tag=16):
    """The next keys in order.  Reply: ``[cursor, keys]``; begin with cursor 0, and 0 comes back
    after the last.  A key that is there all the while is given once.

    Where a cursor stands is kept in the state: a scan goes on whoever leads.  The oldest of more
    than ``MAX_CURSORS`` are forgotten, and then refused.
    """

    cursor: int
    count: int


class DeleteEqual(Operation, tag=17):
    """Reply: 1 if the key had this value, and is deleted; else 0."""

    key: bytes
    value: bytes


class ExpireEqual(Operation, tag=18):
    """Reply: 1 if the key has this value, and now ends ``ttl_ms`` from now, or so much later than
    before with ``extend``; else 0 (also if it had no end to extend)."""

    key: bytes
    value: bytes
    ttl_ms: int
    extend: bool = False


class Skip(Operation, tag=19):
    """Let revisions go on above ``revision``, those of a store whose place this one takes: its
    fencing tokens never come again.  Reply: the store's revision.  Not in a transaction.

    A step up forgets what was before: a watch of either store is told so, and misses nothing."""

    revision: int


# Operations that only read: in a command, where they must stand in order with changes.


class Get(Operation, tag=32):
    """Reply: the value or ``None``."""

    key: bytes


class GetMany(Operation, tag=33):
    """Reply: the value or ``None`` of each."""

    keys: list[bytes]


class Fetch(Operation, tag=34):
    """Reply: ``[value, revision, at_ms]`` (0: no end), or ``None``."""

    key: bytes


class Exists(Operation, tag=35):
    """Reply: how many of them are there, counting one that is named twice, twice."""

    keys: list[bytes]


class Length(Operation, tag=36):
    """Reply: of the value, in bytes; 0 if absent."""

    key: bytes


class GetRange(Operation, tag=37):
    """Reply: the bytes from ``start`` to ``end``, both included, negative ones from the end."""

    key: bytes
    start: int
    end: int


class ExpiresAt(Operation, tag=38):
    """Reply: the log time of the key's end; -1 if it has none, -2 if it is absent."""

    key: bytes


class Revision(Operation, tag=39):
    """Reply: of the key's last change; 0 if it is absent.  It only grows: a fencing token."""

    key: bytes


class Size(Operation, tag=40):
    """Reply: how many keys there are; some may have ended a moment ago."""


Change: TypeAlias = (
    Put
    | Set
    | PutMany
    | Delete
    | Append
    | Add
    | AddDecimal
    | SetRange
    | Expire
    | Persist
    | Take
    | GetExpire
    | Rename
    | Copy
    | Clear
    | Scan
    | DeleteEqual
    | ExpireEqual
    | Skip
)
Look: TypeAlias = Get | GetMany | Fetch | Exists | Length | GetRange | ExpiresAt | Revision | Size
AnyOperation: TypeAlias = Change | Look


# Conditions of a transaction.


class Untouched(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False, tag=1):
    """Nothing has happened to the key after revision ``since``: a key that was deleted, or made and
    deleted again, was touched.  What happened so long ago that it is forgotten counts as touched.
    """

    key: bytes
    since: int


class HasRevision(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False, tag=2):
    """The key's revision is this; 0: the key is absent."""

    key: bytes
    revision: int


class HasValue(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False, tag=3):
    """The key has this value; ``None``: it is absent."""

    key: bytes
    value: bytes | None


Condition: TypeAlias = Untouched | HasRevision | HasValue


# Commands.


class Apply(Command[list[Any]], tag="kv.apply.1"):
    """Reply: that of each operation, a ``Refusal`` if it was refused."""

    operations: list[AnyOperation]


class Transacted(Reply):
    held: bool
    """Whether all conditions did, so that it was ``then`` that was done."""
    revision: int
    """Of the store, after it."""
    replies: list[Any]


class Transact(Command[Transacted], tag="kv.transact.1"):
    """``then`` if all conditions hold, else ``otherwise``: no other change comes between.

    ``whole``: if one of the operations is refused, so is the transaction, and nothing is changed
    (``Clear`` cannot be part of it).  Else each is refused by itself, as Redis' EXEC has it.
    """

    conditions: list[Condition]
    then: list[AnyOperation]
    otherwise: list[AnyOperation] = msgspec.field(default_factory=list)
    whole: bool = True


class Stage(Command[int], tag="kv.stage.1"):
    """One piece of a value that is too large for a command: ``offset`` is the sum of those before.

    Answered with how much is there; a piece that is there already changes nothing.  What no
    operation uses within ``UPLOAD_MS`` of log time is dropped.
    """

    upload: int
    """Drawn at random by who sends it."""
    offset: int
    data: bytes


class Limit(Command[None], tag="kv.limit.1"):
    """How large the store may become.

    At the bound whatever makes it grow is refused with ``StoreFull`` before it changes anything;
    the rest goes on, and so does growing, as soon as there is room.
    """

    max_bytes: int
    """Of ``Statistics.bytes``; 0: no bound."""
    restricted: str = ""
    """If it is a sentence, nothing may grow at all, and that is why: a disk is nearly full."""


# Queries.


class LookUp(Query[list[Any]], tag="kv.look_up.1"):
    """Operations that only read, all at one moment; replies as of ``Apply``."""

    operations: list[Look]


class Entry(msgspec.Struct, array_like=True, gc=False):
    """What is known of a key."""

    key: bytes
    value: bytes
    """In an answer empty, if nobody asked for values."""
    revision: int
    at_ms: int = 0
    """The log time of its end; 0: none."""


class Page(Reply):
    """Part of a range, all at one moment."""

    entries: list[Entry]
    more: bytes | None
    """The key to go on from; ``None``: that was all."""
    revision: int
    """Of the store at that moment."""


class Range(Query[Page], tag="kv.range.1"):
    """The keys from ``start`` to before ``end`` (``None``: to the last), in order."""

    start: bytes
    end: bytes | None
    limit: int = 1000
    values: bool = True


class Kind(IntEnum):
    """What happened to a key."""

    PUT = 0
    DELETE = 1
    EXPIRE = 2
    CLEAR = 3
    """To all keys; the event's key is empty."""


class Event(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One change of one key."""

    revision: int
    kind: Kind
    key: bytes
    value: bytes
    """After a ``PUT``."""


class Changed(Reply):
    """Events in order; all of a revision, or none, unless it is one of several pieces."""

    events: list[Event]
    revision: int
    """Everything up to here has been told."""
    is_piece: bool = False
    """More events follow behind these, and ``revision`` is where all of them begin."""


class Changes(Query[Changed], tag="kv.changes.1"):
    """What happened after revision ``since`` to keys from ``start`` to before ``end``.

    Refused with ``NotFound`` if some of that is forgotten: then read the keys, and go on from the
    revision of that reading.
    """

    since: int
    start: bytes
    end: bytes | None
    limit: int = 1000


class Statistics(Reply):
    """Of the whole store."""

    revision: int
    keys: int
    bytes: int
    """What keys, values and their index, uploads and history take, about."""
    history_from: int
    """Changes after this revision can be asked for."""
    with_end: int
    """Keys with a time to live."""
    max_bytes: int
    restricted: str


class AskStatistics(Query[Statistics], tag="kv.statistics.1"):
    pass
