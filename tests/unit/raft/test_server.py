"""The door for commands: several in one request, and what their caller is told."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from quorate.base.errors import BadInput, Maybe, NotFound, NotLeader, Overloaded, QuorateError
from quorate.base.ids import ClusterId, GroupId, NodeId
from quorate.raft.messages import MAX_PROPOSED, Propose
from quorate.raft.server import RaftServer
from quorate.raft.sessions import wrap
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Call

GROUP = GroupId(1)
CALL = Call(Identity(ClusterId(""), NodeId(0), "client"), 1_000, memoryview(b""))


class Queue:
    """Takes ``room`` commands, as a group does."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.commands: list[bytes] = []
        self.futures: list[asyncio.Future[bytes]] = []

    def submit(self, command: bytes) -> "asyncio.Future[bytes]":
        if len(self.commands) >= self.room:
            raise Overloaded("full")
        self.commands.append(command)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


def proposed(
    count: int, settle: Callable[[Queue], None], *, room: int = 1_000, group: GroupId = GROUP
) -> list[bytes]:
    """The answer to ``count`` commands, after ``settle`` has answered those that were taken."""

    async def main() -> list[bytes]:
        queue = Queue(room)
        server = RaftServer(cast(Any, None), {GROUP: cast(Any, queue)}, cast(Any, None))
        commands = [wrap(1, number, 0, b"x") for number in range(1, count + 1)]
        answer: Any = server.requests[Propose](Propose(group, commands), CALL)
        assert queue.commands == commands[:room]
        settle(queue)
        result: list[bytes] = await answer
        return result

    return asyncio.run(main())


def fail(queue: Queue, error: QuorateError, first: int = 0) -> None:
    for number, future in enumerate(queue.futures):
        if number < first:
            future.set_result(b"%d" % number)
        else:
            future.set_exception(error)


def answer_all(queue: Queue) -> None:
    fail(queue, BadInput("there is none left to fail"), first=len(queue.futures))


def test_each_command_of_a_request_has_its_outcome_in_their_order() -> None:
    assert proposed(3, answer_all) == [b"0", b"1", b"2"]
    assert len(proposed(MAX_PROPOSED, answer_all)) == MAX_PROPOSED


@pytest.mark.parametrize("count", [0, MAX_PROPOSED + 1])
def test_a_request_of_no_commands_or_too_many_is_refused_whole(count: int) -> None:
    with pytest.raises(BadInput, match="one request takes 1 to"):
        proposed(count, answer_all)


def test_a_group_that_is_not_here_takes_nothing() -> None:
    with pytest.raises(NotFound):
        proposed(1, answer_all, group=GroupId(9))


def test_commands_that_were_all_refused_surely_did_nothing() -> None:
    with pytest.raises(Overloaded):
        proposed(3, answer_all, room=0)
    with pytest.raises(NotLeader):
        proposed(3, lambda queue: fail(queue, NotLeader("elsewhere")))


def test_where_some_commands_were_applied_and_others_refused_the_request_is_a_maybe() -> None:
    with pytest.raises(Maybe, match="full"):
        proposed(3, answer_all, room=2)
    with pytest.raises(Maybe):
        proposed(3, lambda queue: fail(queue, NotLeader("elsewhere")), room=2)
    with pytest.raises(Maybe):
        proposed(3, lambda queue: fail(queue, NotLeader("elsewhere"), first=1))
