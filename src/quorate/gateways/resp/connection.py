"""One client's connection, whatever carries its bytes.

Rules:
* What comes while something is under way waits, and is then taken as one *batch*: commands in the
  order of their coming, up to one that has to stand *alone* (EXEC, HELLO, …) or a bound.
* A batch that only reads waits until this replica has everything that was committed when it came
  (``KvService.settle``), and is answered from the state here.  If it changes something, all of it
  goes through the log, reads in their places among the changes.
* Answers are in order, and a batch's are one write.
* Each command is sent to the store at most once.  If its outcome cannot be known the answer is
  ``-MAYBE …``, nothing behind it is done, and the connection ends.  An answer of which we know that
  nothing was changed has a code that no client takes for a reason to repeat a command by itself:
  redis-py's own classes (of which ``LOADING`` and ``NOAUTH`` count as broken connections, and are
  tried again) are chosen by the word before the first space, and ioredis looks for no word unless
  it is told to (``reconnectOnError``).

Bounds, beside those of ``parser.py``, ``transaction.py`` and ``gateway.py``:
* ``MAX_WAITING_BYTES`` wait to be looked at; then nothing more is read.
* Answers are written while they leave.  If they do not, nothing more is done, and if for
  ``STALL_MS`` none has left, the connection ends.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from quorate.base.errors import Maybe, QuorateError
from quorate.gateways.resp import encoder
from quorate.gateways.resp.client import Client
from quorate.gateways.resp.commands.elsewhere import unknown
from quorate.gateways.resp.commands.entry import (
    CHANGES,
    GIVES,
    Asked,
    CommandError,
    answered,
    wrong_arity,
)
from quorate.gateways.resp.commands.table import BY_SPELLING, find
from quorate.gateways.resp.gateway import MAX_HELD_BYTES, MAX_UNSENT_BYTES, Gateway
from quorate.gateways.resp.parser import Args, Parser
from quorate.gateways.resp.refusals import refusal, refused, surely
from quorate.gateways.resp.sizes import (
    MAX_PLAIN_BYTES,
    expected_bytes,
    large_values,
    plain_bytes,
    replace_values,
    too_many_bytes,
)
from quorate.gateways.resp.transaction import is_queued
from quorate.kv.core.commands import AnyOperation, Put
from quorate.runtime.ports import Timer

MAX_BATCH = 1024
"""Commands."""
MAX_WAITING_BYTES = 256 << 10
MAX_BATCH_ANSWER_BYTES = 8 << 20
"""Of the values that a batch through the log gives, going by what is here; then the next begins."""
WRITE_BYTES = 256 << 10
"""Of answers that are gathered before they are written."""
STALL_MS = 30_000.0
NO_PASSWORD_YET = b"-NOAUTH Authentication required.\r\n"
_OPEN_COMMANDS = ("auth", "hello", "quit", "reset")
_FOREIGN = (b"POST", b"HOST:")
"""A browser that was made to speak to us; Redis ends such a connection, too."""


class Transport(Protocol):
    """What carries the bytes."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """After what was written has left."""

    def abort(self) -> None:
        """At once."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def unsent_bytes(self) -> int:
        """What was written and has not left."""


class RespConnection(Client):
    """State of one client, and what is under way for it."""

    __slots__ = (
        "_at",
        "_commands",
        "_held",
        "_is_busy",
        "_is_paused",
        "_is_running",
        "_parser",
        "_place",
        "_slots",
        "_stall",
        "_transport",
        "_unsent",
        "_wait_to_read",
    )

    def __init__(self, gateway: Gateway, transport: Transport, address: str) -> None:
        super().__init__(gateway, address)
        self._transport = transport
        self._parser = Parser()
        self._commands: list[Args] = []
        """Of which those from ``_at`` on wait."""
        self._at = 0
        self._slots: list[bytes | Asked] = []
        """Of the batch under way: an answer, or what is asked of the store."""
        self._place = 0
        self._is_busy = self._is_running = self._is_paused = False
        self._wait_to_read: Callable[[], None] | None = None
        """What goes on when answers have left."""
        self._stall: Timer | None = None
        self._unsent = self._held = 0
        """What the gateway has counted of us."""

    # What commands use.

    def done(self, answer: bytes) -> None:
        """The command that stands alone has been answered."""
        if self.is_closed:
            return
        self._write(answer)
        self._is_busy = False
        self._go_on()

    def failed(self, error: QuorateError) -> None:
        """What is under way ends like this."""
        if self.is_closed:
            return
        if isinstance(error, Maybe):
            self.gateway.maybe_answers += 1
            self._write(encoder.error(f"MAYBE {error.message}"))
            self.end()
            return
        self.done(refusal(error))

    def settled(self, then: Callable[[], None], failed: Callable[[], None] | None = None) -> None:
        """Call ``then`` when this replica has what was committed until now."""

        def told(outcome: Any) -> None:
            if isinstance(outcome, QuorateError):
                if failed is not None:
                    failed()
                self.failed(surely(outcome))
            else:
                then()

        self.service.settle(self.guarded(told))

    def guarded(self, then: Callable[[Any], None]) -> Callable[[Any], None]:
        """``then``, unless the client is gone."""

        def told(outcome: Any) -> None:
            if not self.is_closed:
                then(outcome)

        return told

    def staged(self, operations: Sequence[AnyOperation], then: Callable[[], None]) -> None:
        """Send large values ahead, if it must be, and go on with ``then``."""
        plain = sum(map(plain_bytes, operations))
        large = sum(len(value) for each in operations for value in large_values(each))
        if plain > MAX_PLAIN_BYTES:
            self.done(encoder.error(f"ERR {too_many_bytes(operations)}"))
        elif plain + large <= MAX_PLAIN_BYTES:
            then()
        else:
            self.gateway.world.spawn(self._stage(operations, then), "stage large values")

    async def _stage(self, operations: Sequence[AnyOperation], then: Callable[[], None]) -> None:
        try:
            for operation in operations:
                values = large_values(operation)
                replace_values(operation, [await self.service.stage(value) for value in values])
        except QuorateError as error:
            # Whatever became of the pieces: no operation has used them.
            self.failed(surely(error))
            return
        if not self.is_closed:
            then()

    def later(self, work: Callable[[], None]) -> None:
        """Others first."""
        self.gateway.world.clock.call_later(0, work)

    def answers(self, how: bytes) -> None:
        """``CLIENT REPLY ON | OFF | SKIP``."""
        muted = {b"ON": 0, b"OFF": -1, b"SKIP": 2}
        if how not in muted:
            self.done(encoder.error("ERR syntax error"))
            return
        if how == b"SKIP" and self._mute < 0:
            how = b"OFF"
        self._mute = muted[how]
        self.done(encoder.OK)

    def end(self) -> None:
        """Close, behind what was written."""
        if not self.is_closed:
            self._transport.close()
            self.closed()

    # What the transport tells.

    def feed(self, data: bytes) -> None:
        """What the client has sent."""
        if self.is_closed:
            return
        self._parser.feed(data)
        if not self._is_busy:
            self._go_on()
        must_wait = (self._is_busy or self._stall is not None) and not self.is_closed
        if must_wait and not self._is_paused and self._parser.held_bytes() > MAX_WAITING_BYTES:
            self._is_paused = True
            self._transport.pause_reading()

    def stalled(self) -> None:
        """What was written does not leave as fast as it comes."""
        if self._stall is None and not self.is_closed:
            self._watch_stall()

    def _watch_stall(self) -> None:
        unsent = self._transport.unsent_bytes()
        gateway = self.gateway
        is_stuck = self._stall is not None and unsent >= self._unsent
        gateway.unsent_bytes += unsent - self._unsent
        self._unsent = unsent
        if is_stuck or gateway.unsent_bytes > MAX_UNSENT_BYTES:
            self.drop()
            return
        self._stall = gateway.world.clock.call_later(STALL_MS, self._watch_stall)

    def resumed(self) -> None:
        """What was written has left, or most of it."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        self.gateway.unsent_bytes -= self._unsent
        self._unsent = 0
        if self.is_closed:
            return
        then, self._wait_to_read = self._wait_to_read, None
        if then is not None:
            then()
        elif not self._is_busy:
            self._go_on()

    def closed(self) -> None:
        """The transport is gone, or is to go."""
        if self.is_closed:
            return
        self.is_closed = True
        self.resumed()
        self.gateway.held_bytes -= self._held
        self._held = 0
        self._commands, self._slots, self.transaction = [], [], None
        self._wait_to_read = None
        self._parser = Parser()
        self.gateway.forget(self)

    def drop(self) -> None:
        """Close at once."""
        self._transport.abort()
        self.closed()

    # Batches.

    def _go_on(self) -> None:
        """Begin what waits, until something is under way."""
        if self._is_running:
            return  # a frame of ours further up does
        self._is_running = True
        try:
            while not self._is_busy and self._stall is None and not self.is_closed:
                if self._at >= len(self._commands) and not self._take():
                    break
                self._begin()
        finally:
            self._is_running = False
        if not self.is_closed:
            self._count_held()
            if not self.is_closed and self._is_paused and not self._is_busy and self._stall is None:
                self._is_paused = False
                self._transport.resume_reading()

    def _take(self) -> bool:
        """Have commands that wait; whether there are any."""
        parser = self._parser
        parser.is_known = self.is_known
        self._commands, self._at = parser.take(MAX_BATCH if self.is_known else 1), 0
        if self._commands:
            return True
        if parser.error:
            self._write(encoder.error(f"ERR Protocol error: {parser.error}"))
            self.end()
        return False

    def _count_held(self) -> None:
        held = self._parser.held_bytes()
        if self.transaction is not None:
            held += self.transaction.held_bytes
        gateway = self.gateway
        gateway.held_bytes += held - self._held
        self._held = held
        if gateway.held_bytes > MAX_HELD_BYTES and held > MAX_WAITING_BYTES:
            self._write(encoder.error("ERR too many bytes wait on this node: try again later"))
            self.end()

    def _begin(self) -> None:
        """The next batch, or the command that stands alone."""
        self._mute -= self._mute > 0
        first = self._commands[self._at]
        is_open = self.transaction is not None and self.transaction.is_open
        limit = 1 if self._mute else MAX_BATCH
        if not self.is_known and _name(first) not in _OPEN_COMMANDS:
            self._at += 1
            self._write(NO_PASSWORD_YET)
        elif is_open and is_queued(find(first[0]), first):
            self._queue(limit)
        else:
            self._batch(limit)

    def _queue(self, limit: int) -> None:
        """Commands behind MULTI."""
        answers = []
        for args in self._commands[self._at : self._at + limit]:
            entry = find(args[0])
            if self.transaction is None or not is_queued(entry, args):
                break
            answers.append(self.transaction.queue(self, entry, args))
        self._at += len(answers)
        self.gateway.commands += len(answers)
        self._write(b"".join(answers))

    def _batch(self, limit: int) -> None:
        """Commands up to one that stands alone."""
        commands, start = self._commands, self._at
        if start or limit < len(commands):
            commands = commands[start : start + limit]
        slots: list[bytes | Asked] = []
        work = 0
        for args in commands:
            entry = BY_SPELLING.get(args[0]) or find(args[0])
            if entry is None:
                slots.append(unknown(args))
                if args[0].upper() in _FOREIGN:
                    self.end()
                    return
            elif not entry.least <= len(args) <= entry.most:
                slots.append(wrong_arity(entry.name))
            elif entry.parse is not None:
                try:
                    slots.append(entry.parse(args))
                    work |= entry.work
                except CommandError as error:
                    slots.append(encoder.error(str(error)))
            elif entry.answer is not None:
                slots.append(answered(entry.answer, self, args))
            else:
                break
        if not slots:
            self._stand_alone(commands[0])
            return
        if work & CHANGES and work & GIVES:
            slots = slots[: self._affordable(slots)]
        self._at = start + len(slots)
        self.gateway.commands += len(slots)
        if not work:
            self._write(b"".join(self.shown(slots, iter(()))))
            return
        self._is_busy = True
        self._slots = slots
        if work & CHANGES:
            self._change(slots)
        else:
            self._place = 0
            if self.reads_locally:
                self._read_on()
            else:
                self.service.settle(self._settled)

    def _stand_alone(self, args: Args) -> None:
        self._at += 1
        self.gateway.commands += 1
        self._is_busy = True
        entry = find(args[0])
        if entry is not None and entry.alone is not None:
            entry.alone(self, args)

    def _affordable(self, slots: list[bytes | Asked]) -> int:
        """How many of them give together no more than an entry of the log should."""
        total = 0
        for place, slot in enumerate(slots):
            # A plain SET gives nothing, and nearly all are.
            if isinstance(slot, tuple) and type(slot[0]) is not Put:
                total += expected_bytes(self.store, slot[0])
                if place and total > MAX_BATCH_ANSWER_BYTES:
                    return place
        return len(slots)

    def _change(self, slots: list[bytes | Asked]) -> None:
        operations = [slot[0] for slot in slots if isinstance(slot, tuple)]
        size = self._parser.size
        if size <= MAX_PLAIN_BYTES:
            self.service.apply(operations, size, self._applied)
            return

        # It is one large command; what is not sent ahead fits by ``staged``'s own bound.
        self.staged(
            operations, lambda: self.service.apply(operations, MAX_PLAIN_BYTES, self._applied)
        )

    def _applied(self, outcome: Any) -> None:
        if self.is_closed:
            return
        slots, self._slots = self._slots, []
        if not isinstance(outcome, QuorateError):
            self.done(b"".join(self.shown(slots, iter(outcome))))
        elif isinstance(outcome, Maybe):
            for slot in slots:
                if isinstance(slot, tuple):
                    break
                self._write(slot)
            self.failed(outcome)
        else:
            self._refuse(slots, outcome)

    def _settled(self, outcome: Any) -> None:
        if self.is_closed:
            return
        if isinstance(outcome, QuorateError):
            self._refuse(self._slots, surely(outcome))
        else:
            self._read_on()

    def _refuse(self, slots: list[bytes | Asked], error: QuorateError) -> None:
        """Nothing of a batch was done."""
        answer = refusal(error)
        self.done(b"".join([slot if isinstance(slot, bytes) else answer for slot in slots]))

    def _read_on(self) -> None:
        """Answer a batch of reads from the state here, as fast as the client takes it."""
        slots, look = self._slots, self.store.look
        out: list[bytes] = []
        size = 0
        for place in range(self._place, len(slots)):
            slot = slots[place]
            if isinstance(slot, tuple):
                operation: Any = slot[0]
                try:
                    slot = slot[1](look(operation), self)
                except QuorateError as error:
                    slot = refused(error.code, error.message)
            out.append(slot)
            size += len(slot)
            if size > WRITE_BYTES:
                self._write(b"".join(out))
                self._place = place + 1
                if self._stall is not None or self.is_closed:
                    self._wait_to_read = self._read_on
                    return
                out.clear()
                size = 0
        self._slots = []
        self.done(b"".join(out))

    def shown(self, slots: list[bytes | Asked], replies: Iterator[Any]) -> list[bytes]:
        """The answers of a batch; ``replies`` are those of its operations."""
        answers = []
        for slot in slots:
            if type(slot) is tuple:
                reply = next(replies)
                if type(reply) is dict:  # a Refusal: no other reply is a map
                    answers.append(refused(reply["code"], reply["message"]))
                else:
                    answers.append(slot[1](reply, self))
            elif isinstance(slot, bytes):
                answers.append(slot)
        return answers

    def _write(self, data: bytes) -> None:
        if data and not self._mute and not self.is_closed:
            self._transport.write(data)


def _name(args: Args) -> str:
    entry = find(args[0])
    return entry.name if entry is not None else ""
