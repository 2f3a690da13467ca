"""The RPC doors of a process that holds replicas."""

from collections.abc import Callable, Mapping
from typing import Any

from quorate.base.codec import Notice, Request
from quorate.base.errors import NotFound, ProtocolError
from quorate.base.ids import GroupId
from quorate.raft.driver import Driver
from quorate.raft.group import Group
from quorate.raft.messages import (
    Ask,
    AskStatus,
    GroupStatuses,
    Propose,
    Proposed,
    RaftMessages,
)
from quorate.raft.sessions import admit
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Call, Handler


class RaftServer:
    """Answers for the groups of one process; its tables go to the process's ``RpcServer``."""

    def __init__(self, driver: Driver, groups: Mapping[GroupId, Group]) -> None:
        self._driver = driver
        self._groups = groups
        self.requests: dict[type[Request[Any]], Handler] = {
            Propose: self._propose,
            Ask: self._ask,
            AskStatus: self._status,
        }
        self.notices: dict[type[Notice], Callable[[Any, Identity], None]] = {
            RaftMessages: self._receive
        }

    async def _propose(self, request: Propose, call: Call) -> Proposed:
        admit(request.command)
        return Proposed(await self._group(request.group).submit(request.command))

    async def _ask(self, request: Ask, call: Call) -> Proposed:
        return Proposed(await self._group(request.group).ask(request.query))

    def _status(self, request: AskStatus, call: Call) -> GroupStatuses:
        return GroupStatuses([group.status() for group in self._groups.values()])

    def _receive(self, notice: RaftMessages, peer: Identity) -> None:
        if peer.role != "raft" or not peer.cluster:
            raise ProtocolError(f"messages between replicas from {peer}, which is none")
        self._driver.receive(notice)

    def _group(self, group: GroupId) -> Group:
        found = self._groups.get(group)
        if found is None:
            raise NotFound(f"group {group} has no replica on this node")
        return found
