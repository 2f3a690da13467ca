"""A restart is not a clone; an old life that goes on speaking is."""

from types import SimpleNamespace
from typing import cast

from quorate.base.ids import ClusterId, NodeId
from quorate.raft.twins import OVERTAKEN_MS, Twins
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World


class Heard:
    """Twins, with a clock that is set."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.errors: list[str] = []
        clock = SimpleNamespace(monotonic_ms=lambda: self.now_ms)
        trace = SimpleNamespace(error=self.errors.append)
        self.twins = Twins(cast(World, SimpleNamespace(clock=clock, trace=trace)))

    def hear(self, life: str, at_ms: float) -> bool:
        self.now_ms = at_ms
        return self.twins.may_hear(Identity(ClusterId("c"), NodeId(2), "raft", life))


def test_a_node_that_starts_again_is_one_node() -> None:
    heard = Heard()
    for at_ms, life in enumerate("aaabbbccc"):
        heard.hear(life, at_ms * 10_000.0)
    assert heard.twins.found == {} and heard.errors == []


def test_what_an_ended_process_sent_may_come_a_little_late() -> None:
    heard = Heard()
    for at_ms, life in ((0, "a"), (100, "b"), (OVERTAKEN_MS, "a"), (9_000, "b")):
        heard.hear(life, at_ms)
    assert heard.twins.found == {}


def test_two_that_speak_in_turns_are_named_once() -> None:
    heard = Heard()
    for number in range(20):
        heard.hear("at A" if number % 2 else "at B", number * 400.0)
    assert set(heard.twins.found[NodeId(2)]) == {"at A", "at B"}
    assert heard.twins.sentences() == heard.errors
    assert len(heard.errors) == 1 and "its disk was cloned" in heard.errors[0]


def test_neither_of_two_is_heard_any_more_and_all_others_are() -> None:
    heard = Heard()
    assert heard.hear("at A", 0) and heard.hear("at B", 1)
    assert not heard.hear("at A", 2 * OVERTAKEN_MS)  # its promises are not those of B
    assert not heard.hear("at B", 3 * OVERTAKEN_MS)
    assert not heard.hear("at A", 4 * OVERTAKEN_MS)
    assert heard.twins.dropped == 3
    assert heard.twins.may_hear(Identity(ClusterId("c"), NodeId(3), "raft", "at C"))
