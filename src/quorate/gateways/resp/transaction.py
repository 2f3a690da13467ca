"""MULTI, EXEC and WATCH.

Rules:
* WATCH remembers the store's revision at a settled read.  EXEC is one entry of the log: for each
  watched key the condition that nothing has happened to it since then (``Untouched``: a key that
  was made and deleted again was touched), and all queued commands, reads included.
* If a WATCH failed, or a command could not be queued, EXEC does nothing: it must not go on without
  what the client relies on.  As in Redis, what has too few or too many arguments cannot be queued,
  and what has wrong ones is an error among EXEC's answers.
* A queue is bounded: ``MAX_QUEUED`` commands, what one entry of the log can hold, and
  ``MAX_LARGE_BYTES`` of values that are sent ahead of it.  What does not fit is refused where it is
  queued, and the queue let go.
"""

from typing import TYPE_CHECKING, Any

from quorate.base.errors import QuorateError
from quorate.gateways.resp import encoder
from quorate.gateways.resp.commands.elsewhere import unknown
from quorate.gateways.resp.commands.entry import (
    Asked,
    CommandError,
    Entry,
    NotHere,
    answered,
    wrong_arity,
)
from quorate.gateways.resp.parser import ARGUMENT_BYTES, Args
from quorate.gateways.resp.sizes import MAX_PLAIN_BYTES, expected_bytes, large_values, plain_bytes
from quorate.kv.core.commands import Transact, Transacted, Untouched

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

_AT_ONCE = ("exec", "discard", "multi", "watch", "quit", "reset")
"""Done behind MULTI, too, and not queued."""
MAX_QUEUED = 10_000
MAX_LARGE_BYTES = 32 << 20
MAX_WATCHED = 1_000
MAX_WATCHED_BYTES = 64 << 10
MAX_ANSWER_BYTES = 64 << 20
"""Of the values that EXEC gives, as far as can be told before."""
ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


class Transaction:
    """What a connection has queued and watches."""

    __slots__ = ("_large_bytes", "_plain_bytes", "held_bytes", "is_broken", "is_open", "slots",
                 "watched")  # fmt: skip

    def __init__(self) -> None:
        self.is_open = False
        """MULTI came."""
        self.is_broken = False
        """EXEC will do nothing."""
        self.slots: list[bytes | Asked] = []
        self.watched: dict[bytes, int] = {}
        """Key to the revision since which nothing may happen to it."""
        self._plain_bytes = self._large_bytes = self.held_bytes = 0

    def queue(self, connection: "RespConnection", entry: Entry | None, args: Args) -> bytes:
        """Take one more command; gives the answer."""
        try:
            slot = _slot(connection, entry, args)
            if self.is_broken:
                return encoder.QUEUED
            self._make_room(slot, args)
        except CommandError as error:
            self.break_()
            return encoder.error(str(error))
        self.slots.append(slot)
        return encoder.QUEUED

    def _make_room(self, slot: bytes | Asked, args: Args) -> None:
        if len(self.slots) >= MAX_QUEUED:
            raise CommandError(f"ERR a transaction has {MAX_QUEUED} commands at most")
        self.held_bytes += sum(map(len, args)) + ARGUMENT_BYTES * (len(args) + 2)
        if isinstance(slot, bytes):
            self._plain_bytes += len(slot)  # an answer that waits takes memory as well
        else:
            self._plain_bytes += plain_bytes(slot[0])
            self._large_bytes += sum(map(len, large_values(slot[0])))
        if self._plain_bytes > MAX_PLAIN_BYTES or self._large_bytes > MAX_LARGE_BYTES:
            raise CommandError(
                f"ERR a transaction has {MAX_PLAIN_BYTES} bytes at most, and {MAX_LARGE_BYTES} of "
                "large values"
            )

    def break_(self) -> None:
        """A command could not be queued."""
        self.is_broken = True
        self.slots = []
        self.held_bytes = self._plain_bytes = self._large_bytes = 0


def _slot(connection: "RespConnection", entry: Entry | None, args: Args) -> bytes | Asked:
    """What is queued; raises ``CommandError``."""
    if entry is None:
        raise CommandError(_text(unknown(args)))
    if not entry.takes(args):
        raise CommandError(_text(wrong_arity(entry.name)))
    if entry.parse is not None:
        try:
            return entry.parse(args)
        except NotHere:
            raise
        except CommandError as error:
            return encoder.error(str(error))
    if entry.answer is not None:
        return answered(entry.answer, connection, args)
    if entry.name == "unwatch":
        return encoder.OK  # EXEC's conditions are those of before
    raise CommandError("ERR Command not allowed inside a transaction")


def _text(answer: bytes) -> str:
    """Of an error that is written already."""
    return answer[1:-2].decode("utf-8", "replace")


def is_queued(entry: Entry | None, args: Args) -> bool:
    """Whether a command behind MULTI waits for EXEC; one that cannot be done breaks the queue."""
    return entry is None or entry.name not in _AT_ONCE or not entry.takes(args)


# The commands.


def multi(connection: "RespConnection", args: Args) -> None:
    if connection.transaction is not None and connection.transaction.is_open:
        return connection.done(encoder.error("ERR MULTI calls can not be nested"))
    connection.transaction = connection.transaction or Transaction()
    connection.transaction.is_open = True
    connection.done(encoder.OK)


def discard(connection: "RespConnection", args: Args) -> None:
    if connection.transaction is None or not connection.transaction.is_open:
        return connection.done(encoder.error("ERR DISCARD without MULTI"))
    connection.transaction = None
    connection.done(encoder.OK)


def unwatch(connection: "RespConnection", args: Args) -> None:
    connection.transaction = None
    connection.done(encoder.OK)


def watch(connection: "RespConnection", args: Args) -> None:
    transaction = connection.transaction = connection.transaction or Transaction()
    if transaction.is_open:
        return connection.done(encoder.error("ERR WATCH inside MULTI is not allowed"))
    keys = dict.fromkeys([*transaction.watched, *args[1:]])
    if len(keys) > MAX_WATCHED or sum(map(len, keys)) > MAX_WATCHED_BYTES:
        transaction.break_()
        return connection.done(
            encoder.error(
                f"ERR a connection watches {MAX_WATCHED} keys at most, of {MAX_WATCHED_BYTES} bytes"
            )
        )

    def settled() -> None:
        revision = connection.store.state.revision
        for key in args[1:]:
            transaction.watched.setdefault(key, revision)
        connection.done(encoder.OK)

    connection.settled(settled, transaction.break_)


def execute(connection: "RespConnection", args: Args) -> None:
    transaction, connection.transaction = connection.transaction, None
    if transaction is None or not transaction.is_open:
        connection.transaction = transaction
        return connection.done(encoder.error("ERR EXEC without MULTI"))
    if transaction.is_broken:
        return connection.done(ABORTED)
    operations = [slot[0] for slot in transaction.slots if isinstance(slot, tuple)]
    if sum(expected_bytes(connection.store, each) for each in operations) > MAX_ANSWER_BYTES:
        return connection.done(
            encoder.error(
                f"EXECABORT nothing was done: the answers have more than {MAX_ANSWER_BYTES} bytes"
            )
        )
    conditions = [Untouched(key, since) for key, since in transaction.watched.items()]
    if not operations and not conditions:
        return connection.done(_answers(connection, transaction.slots, []))

    def done(outcome: Any) -> None:
        if isinstance(outcome, QuorateError):
            connection.failed(outcome)
            return
        transacted: Transacted = outcome
        if transacted.held:
            connection.done(_answers(connection, transaction.slots, transacted.replies))
        else:
            connection.done(encoder.nil_array(connection.protocol))

    def send() -> None:
        connection.service.transact(
            Transact(list(conditions), operations, whole=False), connection.guarded(done)
        )

    connection.staged(operations, send)


def _answers(connection: "RespConnection", slots: list[bytes | Asked], replies: list[Any]) -> bytes:
    return encoder.array(connection.shown(slots, iter(replies)))
