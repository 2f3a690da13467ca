"""Answers that are too large for a frame: how many are kept, and for how long."""

from typing import Any, cast

import pytest

from quorate.base.codec import decode
from quorate.base.errors import AnswerHeld, Maybe, NotFound, QuorateError
from quorate.base.ids import ClusterId, NodeId
from quorate.raft import answers
from quorate.raft.answers import HeldAnswers, ProposeAnswer
from quorate.raft.messages import ReadAnswer
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Call

CALL = Call(Identity(ClusterId(""), NodeId(0), "client"), 1_000, memoryview(b""))
LARGE = [bytes(5 << 20), b"small"]


class Timer:
    def __init__(self, end: Any) -> None:
        self.end = end
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class World:
    """Time stands still, and numbers count on."""

    def __init__(self) -> None:
        self.clock = self.random = self
        self.timers: list[Timer] = []

    def call_later(self, delay_ms: float, work: Any, *arguments: Any) -> Timer:
        self.timers.append(Timer(lambda: work(*arguments)))
        return self.timers[-1]

    def getrandbits(self, bits: int) -> int:
        return len(self.timers) + 1


class Sent(ProposeAnswer):
    """What its caller is told."""

    def __init__(self, held: HeldAnswers) -> None:
        super().__init__(held)
        self.bind(cast(Any, self), 0, 0, object)
        self.told: list[object] = []

    def claim(self, number: int) -> bool:
        return True

    def reply(self, call_id: int, request: object, result: object) -> None:
        self.told.append(result)

    def reply_error(self, call_id: int, request: object, error: object) -> None:
        self.told.append(error)


def held() -> tuple[HeldAnswers, World]:
    world = World()
    return HeldAnswers(cast(Any, world)), world


def piece(answers: HeldAnswers, number: int, offset: int) -> bytes:
    return b"".join(answers.read(ReadAnswer(number, offset), CALL).payload)


def test_what_fits_a_frame_is_sent_and_what_does_not_is_held() -> None:
    holding, _ = held()
    sent = Sent(holding)
    sent.resolve([b"a", b"b"])
    sent.resolve(LARGE)
    first, second = sent.told
    assert first == [b"a", b"b"]
    assert isinstance(second, AnswerHeld) and isinstance(second.details["length"], int)


def test_an_answer_comes_in_pieces_and_is_gone_with_the_last() -> None:
    holding, world = held()
    details = cast(dict[str, int], holding.hold(LARGE).details)
    first = piece(holding, details["number"], 0)
    assert len(first) == answers.PIECE_BYTES == len(piece(holding, details["number"], 0))
    data = first + piece(holding, details["number"], len(first))
    assert len(data) == details["length"] and decode(data, list[bytes]) == LARGE
    assert world.timers[0].is_cancelled
    with pytest.raises(NotFound):
        piece(holding, details["number"], 0)


@pytest.mark.parametrize("offset", [-1, 6 << 20])
def test_a_piece_that_is_none_is_refused(offset: int) -> None:
    holding, _ = held()
    number = cast(int, holding.hold(LARGE).details["number"])
    with pytest.raises(QuorateError):
        piece(holding, number, offset)


def test_they_are_bounded_in_bytes_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_HELD_BYTES", 11 << 20)
    holding, world = held()
    assert isinstance(holding.hold(LARGE), AnswerHeld)
    assert isinstance(holding.hold(LARGE), AnswerHeld)
    refused = holding.hold(LARGE)
    assert isinstance(refused, Maybe) and not isinstance(refused, AnswerHeld)
    world.timers[0].end()
    assert isinstance(holding.hold(LARGE), AnswerHeld)
