"""The RPC doors of a process that holds replicas."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from quorate.base.codec import Notice, Request
from quorate.base.errors import BadInput, Maybe, NotFound, ProtocolError, QuorateError
from quorate.base.ids import GroupId
from quorate.raft.driver import Driver
from quorate.raft.group import Group
from quorate.raft.messages import (
    MAX_PROPOSED,
    Ask,
    AskStatus,
    GroupStatuses,
    Propose,
    RaftMessages,
    ReadSnapshot,
    SnapshotChunk,
)
from quorate.raft.sessions import admit
from quorate.raft.snapshots import SnapshotStore
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Bulk, Call, Handler


class RaftServer:
    """Answers for the groups of one process; its tables go to the process's ``RpcServer``."""

    def __init__(
        self, driver: Driver, groups: Mapping[GroupId, Group], snapshots: SnapshotStore
    ) -> None:
        self._driver = driver
        self._groups = groups
        self._snapshots = snapshots
        self.requests: dict[type[Request[Any]], Handler] = {
            Propose: self._propose,
            Ask: self._ask,
            AskStatus: self._status,
            ReadSnapshot: self._read_snapshot,
        }
        self.notices: dict[type[Notice], Callable[[Any, Identity], None]] = {
            RaftMessages: self._receive
        }

    def _propose(self, request: Propose, call: Call) -> "asyncio.Future[list[bytes]]":
        commands, group = request.commands, self._group(request.group)
        if not 0 < len(commands) <= MAX_PROPOSED:
            raise BadInput(f"{len(commands)} commands; one request takes 1 to {MAX_PROPOSED}")
        for command in commands:
            admit(command)
        outcomes = [group.submit(commands[0])]
        refused: QuorateError | None = None
        try:
            for command in commands[1:]:
                outcomes.append(group.submit(command))
        except QuorateError as error:  # there is room for the first of them only
            refused = error
        answer: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        # They came in one turn, so they come out in order: when the last is there, all are.
        outcomes[-1].add_done_callback(lambda _: _answer(answer, outcomes, refused))
        return answer

    def _ask(self, request: Ask, call: Call) -> "asyncio.Future[bytes]":
        return self._group(request.group).ask(request.query, anywhere=request.anywhere)

    def _status(self, request: AskStatus, call: Call) -> GroupStatuses:
        return GroupStatuses([group.status() for group in self._groups.values()])

    def _read_snapshot(self, request: ReadSnapshot, call: Call) -> Bulk:
        self._require_replica(call.peer)
        data = self._snapshots.chunk(request.snapshot, request.offset, request.length)
        return Bulk(SnapshotChunk(), [data])

    def _receive(self, notice: RaftMessages, peer: Identity) -> None:
        self._require_replica(peer)
        self._driver.receive(notice)

    def _require_replica(self, peer: Identity) -> None:
        if peer.role != "raft" or not peer.cluster:
            raise ProtocolError(f"messages between replicas from {peer}, which is none")

    def _group(self, group: GroupId) -> Group:
        found = self._groups.get(group)
        if found is None:
            raise NotFound(f"group {group} has no replica on this node")
        return found


def _answer(
    answer: "asyncio.Future[list[bytes]]",
    outcomes: "list[asyncio.Future[bytes]]",
    refused: QuorateError | None,
) -> None:
    """All outcomes, or why there is one that nobody knows."""
    errors = [error for outcome in outcomes if (error := outcome.exception()) is not None]
    if refused is not None:
        errors.append(refused)
    if not errors:
        answer.set_result([outcome.result() for outcome in outcomes])
    elif len(errors) == len(outcomes) and refused is None:
        answer.set_exception(errors[0])
    else:
        answer.set_exception(Maybe(f"some of the commands may have been applied: {errors[-1]}"))
