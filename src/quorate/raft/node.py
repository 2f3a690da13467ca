"""All the groups of one node over its one log: how replicas come to life."""

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from quorate.base.errors import QuorateError
from quorate.base.ids import Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.base.machine import StateMachine
from quorate.base.together import together
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import HardState
from quorate.raft.core.replica import Replica
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.digests import QUARANTINE_FILE, refuse_quarantined
from quorate.raft.driver import Driver
from quorate.raft.figures import RaftFigures
from quorate.raft.group import Group
from quorate.raft.messages import RaftMessages
from quorate.raft.observer import Observer
from quorate.raft.server import RaftServer
from quorate.raft.sessions import SessionMachine
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshotter import load, start_of_log, start_of_term
from quorate.raft.wal import SEGMENT_BYTES, Recovered, Spill, Wal
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World


class Membership(msgspec.Struct, frozen=True):
    """Which replica of a group is here, and who founded the group.

    Who belongs to it since then stands in its log.  A replica that joins later is not among
    ``configuration``, and counts for nothing until its log says otherwise.
    """

    replica: ReplicaId
    configuration: Configuration


class RaftNode:
    """Opens the node's log and runs a replica of every group from it."""

    def __init__(
        self,
        world: World,
        driver: Driver,
        groups: dict[GroupId, Group],
        snapshots: SnapshotStore,
        wal: Wal,
    ) -> None:
        self._driver = driver
        self._wal = wal
        self.groups = groups
        self.server = RaftServer(world, driver, groups, snapshots)

    @staticmethod
    async def start(
        world: World,
        cluster: ClusterId,
        node: NodeId,
        machines: Mapping[GroupId, tuple[StateMachine, Membership]],
        rpc: RpcClient,
        *,
        timing: Timing | None = None,
        limits: Limits | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        observer: Observer | None = None,
        door: Address | None = None,
        spill: Spill | None = None,
    ) -> "RaftNode":
        """``machines`` are empty; snapshots, and then the log as it is committed, fill them.
        ``door`` is where others reach this process; ``spill`` keeps the log's entries elsewhere
        than in memory.

        Raises ``BadConfiguration`` if the log is another node's or not there at all, and
        ``ReplicaDamaged`` if log or snapshots are: then no replica here may vote or
        acknowledge.
        """
        refuse_quarantined(world.disk, QUARANTINE_FILE)
        wal, recovered = await Wal.open(
            world.disk, cluster, node, segment_bytes=segment_bytes, spill=spill
        )
        store = await SnapshotStore.open(world)

        def notify(address: Address, notice: RaftMessages) -> None:
            notice.door = door
            rpc.notify(address, notice)

        driver = Driver(world, wal, notify, observer)
        loaded: dict[GroupId, tuple[SessionMachine, Replica]] = {}
        for group, (machine, membership) in machines.items():
            found = recovered.get(group) or Recovered(HardState(), 0, 0, [])
            snapshot = store.newest(group)
            log = start_of_log(wal, group, found, snapshot)
            sessions = SessionMachine(machine)
            if snapshot is not None:
                await load(world, sessions, store, snapshot)
            replica = Replica(
                membership.replica,
                membership.configuration,
                log,
                start_of_term(wal, group, found.state, snapshot),
                now_ms=world.clock.monotonic_ms(),
                draw=world.random.random,
                timing=timing or Timing(),
                limits=limits or Limits(),
                snapshot=snapshot,
            )
            loaded[group] = (sessions, replica)
        groups: dict[GroupId, Group] = {}
        for group, (sessions, replica) in loaded.items():  # only now: no group waits for another
            addresses = dict(machines[group][1].configuration.addresses)
            for _, configuration in replica.configurations:
                addresses.update(configuration.addresses)
            replica.reset_election_timer(world.clock.monotonic_ms())
            groups[group] = Group(
                world, driver, group, sessions, replica, addresses, store, rpc, observer
            )
        rpc.lost = driver.connection_lost
        return RaftNode(world, driver, groups, store, wal)

    def figures(self) -> RaftFigures:
        log = self._wal.stats
        return RaftFigures(
            [group.figures() for group in self.groups.values()],
            self._driver.sync_ms,
            log.bytes,
            log.relocated_bytes,
            log.segments,
            self.server.twins.dropped,
        )

    async def hand_over(self, *, timeout_ms: float) -> None:
        """Before an orderly stop: let others lead what this node leads, so that nobody has to
        notice its end first."""

        async def let_go(group: Group) -> None:
            # Who cannot take over now will be elected when this node is gone.
            with suppress(QuorateError):
                await group.transfer(timeout_ms=timeout_ms)

        await together(let_go(group) for group in self.groups.values() if group.is_leader)

    def stop(self) -> None:
        """Take no further step."""
        self._driver.stop()
