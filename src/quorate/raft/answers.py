"""Answers to commands that are too large for a control frame: kept, and fetched in pieces.

Rules:
* A command that was applied cannot be sent again by whoever sent it without a session, so its
  answer must reach him however large it is; nor may it cost those whose commands travelled with it
  theirs.  The leader keeps it and says so (``AnswerHeld``); who asked fetches it over the bulk
  connection.
* What is kept is bounded, in bytes and in time without a piece that is asked for, and goes with its
  last piece.  An answer that is not kept is a *maybe*, as any that is lost.
"""

from typing import Any

from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.errors import AnswerHeld, Maybe, NotFound, QuorateError
from quorate.base.ids import Address
from quorate.raft.messages import AnswerPiece, Propose, ReadAnswer
from quorate.rpc.answer import Answer
from quorate.rpc.client import RpcClient
from quorate.rpc.server import Bulk, Call
from quorate.runtime.ports import Timer, World

MAX_SENT_BYTES = 960 * 1024
"""Of the outcomes in one control frame, which takes 1 MiB."""
PIECE_BYTES = 4 << 20
MAX_HELD_BYTES = 256 << 20
HELD_MS = 10_000.0


class HeldAnswers:
    """Those of one process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._held: dict[int, tuple[bytes, Timer]] = {}
        self._bytes = 0

    def hold(self, outcomes: list[bytes]) -> Maybe:
        """What to say in place of ``outcomes``."""
        size = sum(map(len, outcomes))
        if self._bytes + size > MAX_HELD_BYTES:
            return Maybe(
                f"it was applied, and its answer of {size} bytes cannot be sent: too many others"
                " as large are on their way"
            )
        number, data = self._world.random.getrandbits(62), encode(outcomes)
        timer = self._world.clock.call_later(HELD_MS, self._drop, number)
        self._held[number] = (data, timer)
        self._bytes += len(data)
        sentence = f"it was applied, and its answer of {size} bytes has to be fetched"
        return AnswerHeld(sentence, number=number, length=len(data))

    def read(self, request: ReadAnswer, call: Call) -> Bulk:
        """A piece of one."""
        data, timer = self._held.get(request.number, (b"", None))
        if timer is None or not 0 <= request.offset < len(data):
            raise NotFound("this answer is not kept any more")
        end = request.offset + PIECE_BYTES
        if end >= len(data):
            self._drop(request.number)
        else:
            timer.cancel()
            timer = self._world.clock.call_later(HELD_MS, self._drop, request.number)
            self._held[request.number] = (data, timer)
        return Bulk(AnswerPiece(), [memoryview(data)[request.offset : end]])

    def _drop(self, number: int) -> None:
        data, timer = self._held.pop(number)
        timer.cancel()
        self._bytes -= len(data)


class ProposeAnswer(Answer):
    """To a ``Propose``, of any size."""

    __slots__ = ("_held",)

    def __init__(self, held: HeldAnswers) -> None:
        self._held = held

    def resolve(self, value: Any) -> None:
        if sum(map(len, value)) > MAX_SENT_BYTES:
            self.fail(self._held.hold(value))
        else:
            super().resolve(value)


async def propose(
    world: World, rpc: RpcClient, address: Address, request: Propose, *, timeout_ms: float
) -> list[bytes]:
    """One attempt at ``request`` there; the outcomes, whatever their size."""
    end_ms = world.clock.monotonic_ms() + timeout_ms
    try:
        return await rpc.call(address, request, timeout_ms=timeout_ms)
    except AnswerHeld as held:
        number, length = held.details.get("number"), held.details.get("length")
        if not isinstance(number, int) or not isinstance(length, int) or length > MAX_HELD_BYTES:
            raise Maybe(held.message) from held
        data = bytearray()
        try:
            while len(data) < length:
                left_ms = end_ms - world.clock.monotonic_ms()
                piece = ReadAnswer(number, len(data))
                _, more = await rpc.call_bulk(address, piece, timeout_ms=left_ms)
                data += more
            outcomes: list[bytes] = decode(bytes(data), list[bytes])
        except (QuorateError, *UNREADABLE) as error:
            raise Maybe(f"{held.message}, which failed: {error}") from error
        return outcomes
