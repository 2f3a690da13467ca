"""The door for commands: several in one request, and what is refused there."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from quorate.base.codec import Notice
from quorate.base.errors import BadInput, NotFound, ProtocolError
from quorate.base.ids import REPLICAS_PER_GROUP, Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.raft.core.configuration import founding
from quorate.raft.core.messages import TimeoutNow
from quorate.raft.messages import MAX_PROPOSED, DigestNotice, Envelope, Propose, RaftMessages
from quorate.raft.server import RaftServer
from quorate.raft.sessions import wrap
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Call

CLUSTER = ClusterId("c" * 32)
GROUP = GroupId(1)
ONE, TWO = (ReplicaId(GROUP * REPLICAS_PER_GROUP + node) for node in (1, 2))
CALL = Call(Identity(ClusterId(""), NodeId(0), "client"), 1_000, memoryview(b""))


class Queue:
    """Takes commands, as a group does."""

    def __init__(self) -> None:
        self.taken: list[tuple[list[bytes], Any]] = []

    def submit_all(self, commands: list[bytes], answer: Any) -> None:
        self.taken.append((commands, answer))


def propose(commands: list[bytes], group: GroupId = GROUP) -> list[tuple[list[bytes], Any]]:
    """What is passed on; it must be passed on with the answer that the caller waits for."""
    queue = Queue()
    nothing = cast(Any, None)
    server = RaftServer(nothing, nothing, {GROUP: cast(Any, queue)}, nothing)
    answer = server.requests[Propose](Propose(group, commands), CALL)
    assert all(given is answer for _, given in queue.taken)
    return queue.taken


def some(count: int) -> list[bytes]:
    return [wrap(1, number, 0, b"x") for number in range(1, count + 1)]


def test_the_commands_of_a_request_are_passed_on_together_and_in_order() -> None:
    for count in (1, 3, MAX_PROPOSED):
        assert [commands for commands, _ in propose(some(count))] == [some(count)]


@pytest.mark.parametrize("count", [0, MAX_PROPOSED + 1])
def test_a_request_of_no_commands_or_too_many_is_refused_whole(count: int) -> None:
    with pytest.raises(BadInput, match="one request takes 1 to"):
        propose(some(count))


def test_one_command_that_is_none_costs_the_whole_request() -> None:
    with pytest.raises(BadInput, match="not a command"):
        propose([*some(2), b"garbage"])


def test_a_group_that_is_not_here_takes_nothing() -> None:
    with pytest.raises(NotFound):
        propose(some(1), GroupId(9))


def heard(notice: Notice, peer: Identity) -> list[Notice]:
    """What a replica, which follows nobody, is given of ``notice``."""
    given: list[Notice] = []
    desk = SimpleNamespace(receive=given.append)
    comparison = SimpleNamespace(hear=given.append, told=lambda notice, node: given.append(notice))
    members = founding({ONE: Address("m1:raft"), TWO: Address("m2:raft")}, {ONE: "n1", TWO: "n2"})
    group = SimpleNamespace(comparison=comparison, configuration=members)
    nothing = cast(Any, None)
    server = RaftServer(nothing, cast(Any, desk), {GROUP: cast(Any, group)}, nothing)
    server.notices[type(notice)](notice, peer)
    return given


SPOKEN = [
    RaftMessages([Envelope(GROUP, TWO, ONE, TimeoutNow(3))]),
    DigestNotice(GROUP, TWO, 256, 7),
]


@pytest.mark.parametrize("notice", SPOKEN, ids=["messages", "digest"])
def test_a_process_speaks_for_the_replicas_of_its_own_node_alone(notice: Notice) -> None:
    assert heard(notice, Identity(CLUSTER, NodeId(2), "raft")) == [notice]
    for number in (0, 1, 3):
        with pytest.raises(ProtocolError, match="of another node"):
            heard(notice, Identity(CLUSTER, NodeId(number), "raft"))


@pytest.mark.parametrize("notice", SPOKEN, ids=["messages", "digest"])
def test_with_tls_a_machine_speaks_for_the_node_that_bears_its_name(notice: Notice) -> None:
    assert heard(notice, Identity(CLUSTER, NodeId(2), "raft", certified="n2")) == [notice]
    with pytest.raises(ProtocolError, match=f"'n3', as its .* for replica {TWO} of 'n2'"):
        heard(notice, Identity(CLUSTER, NodeId(2), "raft", certified="n3"))
