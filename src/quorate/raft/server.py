"""The RPC doors of a process that holds replicas."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from quorate.base.codec import Notice, Request
from quorate.base.errors import BadInput, CorruptData, NotFound, ProtocolError, QuorateError
from quorate.base.ids import GroupId, ReplicaId, node_of
from quorate.base.together import together
from quorate.raft.answers import HeldAnswers, ProposeAnswer
from quorate.raft.changes import change_members
from quorate.raft.core.configuration import Configuration
from quorate.raft.driver import Driver
from quorate.raft.group import Group
from quorate.raft.messages import (
    MAX_PROPOSED,
    Ask,
    AskMembers,
    AskReady,
    AskStatus,
    ChangeMembers,
    DigestNotice,
    DivergedNotice,
    GroupStatus,
    GroupStatuses,
    Propose,
    RaftMessages,
    ReadAnswer,
    Readiness,
    ReadSnapshot,
    SnapshotChunk,
    SnapshotDoubted,
    TransferLeadership,
)
from quorate.raft.sessions import admit
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.twins import Twins
from quorate.rpc.answer import Answer
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Bulk, Call, Handler
from quorate.runtime.ports import World

MAX_CHANGE_MS = 60_000.0
"""How long one call waits for a change; who wants it done asks again."""

ANSWER_SHARE = 0.9
"""Of its caller's deadline: what an operation takes that should say itself what it waited for."""

READY_TIMEOUT_MS = 1_000
"""A replica that needs longer for a read is not ready."""


class RaftServer:
    """Answers for the groups of one process; its tables go to the process's ``RpcServer``."""

    def __init__(
        self,
        world: World,
        driver: Driver,
        groups: Mapping[GroupId, Group],
        snapshots: SnapshotStore,
    ) -> None:
        self._world = world
        self._driver = driver
        self._groups = groups
        self._snapshots = snapshots
        self.twins = Twins(world)
        self._answers = HeldAnswers(world)
        self.requests: dict[type[Request[Any]], Handler] = {
            Propose: self._propose,
            Ask: self._ask,
            AskReady: self._ready,
            AskStatus: self._status,
            ReadSnapshot: self._read_snapshot,
            ReadAnswer: self._answers.read,
            AskMembers: self._members,
            ChangeMembers: self._change_members,
            TransferLeadership: self._transfer,
        }
        self.notices: dict[type[Notice], Callable[[Any, Identity], None]] = {
            RaftMessages: self._receive,
            DigestNotice: self._digest,
            DivergedNotice: self._diverged,
            SnapshotDoubted: self._doubted,
        }

    def _propose(self, request: Propose, call: Call) -> Answer:
        commands = request.commands
        if not 0 < len(commands) <= MAX_PROPOSED:
            raise BadInput(f"{len(commands)} commands; one request takes 1 to {MAX_PROPOSED}")
        for command in commands:
            admit(command)
        answer = ProposeAnswer(self._answers)
        self._group(request.group).submit_all(commands, answer)
        return answer

    def _ask(self, request: Ask, call: Call) -> "asyncio.Future[bytes]":
        return self._group(request.group).ask(request.query, anywhere=request.anywhere)

    def _status(self, request: AskStatus, call: Call) -> GroupStatuses:
        return GroupStatuses([group.status_now() for group in self._groups.values()])

    async def _members(self, request: AskMembers, call: Call) -> Configuration:
        group = self._group(request.group)
        await group.barrier(timeout_ms=ANSWER_SHARE * call.remaining_ms)
        return group.committed_configuration

    def _change_members(
        self, request: ChangeMembers, call: Call
    ) -> Coroutine[Any, Any, Configuration]:
        group = self._group(request.group)
        timeout_ms = min(ANSWER_SHARE * call.remaining_ms, MAX_CHANGE_MS)
        return change_members(
            self._world, group, request.members, request.expected, timeout_ms=timeout_ms
        )

    async def _transfer(self, request: TransferLeadership, call: Call) -> GroupStatus:
        group = self._group(request.group)
        await group.transfer(request.target, timeout_ms=ANSWER_SHARE * call.remaining_ms)
        return group.status()

    async def _ready(self, request: AskReady, call: Call) -> Readiness:
        groups = self._groups.values()
        found = await together(_problem(group, READY_TIMEOUT_MS) for group in groups)
        return Readiness([sentence for sentence in found if sentence], self.twins.sentences())

    def _read_snapshot(self, request: ReadSnapshot, call: Call) -> Bulk:
        self._require_replica(call.peer)
        try:
            data = self._snapshots.chunk(request.snapshot, request.offset, request.length)
        except (CorruptData, NotFound):
            self._doubted(SnapshotDoubted(request.snapshot), call.peer)
            raise
        return Bulk(SnapshotChunk(), [data])

    def _receive(self, notice: RaftMessages, peer: Identity) -> None:
        for envelope in notice.envelopes:
            self._require_own(envelope.group, envelope.sender, peer)
        if self._may_hear(peer):
            self._driver.receive(notice)

    def _digest(self, notice: DigestNotice, peer: Identity) -> None:
        self._require_own(notice.group, notice.replica, peer)
        if self._may_hear(peer) and notice.group in self._groups:
            self._groups[notice.group].comparison.hear(notice)

    def _diverged(self, notice: DivergedNotice, peer: Identity) -> None:
        if self._may_hear(peer) and notice.group in self._groups:
            self._groups[notice.group].comparison.told(notice, peer.node)

    def _doubted(self, notice: SnapshotDoubted, peer: Identity) -> None:
        if self._may_hear(peer) and notice.snapshot.group in self._groups:
            self._groups[notice.snapshot.group].snapshotter.doubted(notice.snapshot)

    def _may_hear(self, peer: Identity) -> bool:
        """Raises ``ProtocolError`` for who is no replica."""
        self._require_replica(peer)
        return self.twins.may_hear(peer)

    def _require_replica(self, peer: Identity) -> None:
        if peer.role != "raft" or not peer.cluster:
            raise ProtocolError(f"messages between replicas from {peer}, which is none")

    def _require_own(self, group: GroupId, sender: ReplicaId, peer: Identity) -> None:
        """A process speaks for the replicas of its own machine, and with TLS that machine is the
        one that its certificate names."""
        if node_of(sender) != peer.node:
            raise ProtocolError(f"{peer} speaks for replica {sender} of another node")
        if peer.certified and group in self._groups:
            name = self._groups[group].configuration.names.get(sender, peer.certified)
            if name != peer.certified:
                raise ProtocolError(
                    f"{peer.certified!r}, as its certificate says, speaks for replica {sender} of"
                    f" {name!r}"
                )

    def _group(self, group: GroupId) -> Group:
        found = self._groups.get(group)
        if found is None:
            raise NotFound(f"group {group} has no replica on this node")
        return found


async def _problem(group: Group, timeout_ms: float) -> str:
    """Why a replica cannot answer a read; empty if it can."""
    try:
        await group.barrier(timeout_ms=timeout_ms, anywhere=True)
    except QuorateError as error:
        status = group.status()
        if status.leader is None:
            return f"group {group.name}: the replica here knows no leader"
        return (
            f"group {group.name}: the replica here ({status.role}, led from {status.leader}) could"
            f" not read within {timeout_ms:.0f} ms, applied {status.last_applied} of"
            f" {status.commit_index} ({error.message})"
        )
    return ""
