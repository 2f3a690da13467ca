"""All the groups of one node over its one log: how replicas come to life."""

from collections.abc import Callable, Mapping

import msgspec

from quorate.base.check import check
from quorate.base.ids import Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.base.machine import StateMachine
from quorate.raft.core.entries import EntryId, HardState
from quorate.raft.core.log import Log
from quorate.raft.core.replica import Replica
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.driver import Driver
from quorate.raft.group import Group
from quorate.raft.messages import RaftMessages
from quorate.raft.observer import Observer
from quorate.raft.server import RaftServer
from quorate.raft.wal import SEGMENT_BYTES, Recovered, Wal
from quorate.runtime.ports import World


class Membership(msgspec.Struct, frozen=True):
    """Who belongs to a group, and which of them is here."""

    replica: ReplicaId
    addresses: dict[ReplicaId, Address]
    """Of the processes that hold the members, this one included."""


class RaftNode:
    """Opens the node's log and runs a replica of every group from it."""

    def __init__(self, driver: Driver, groups: dict[GroupId, Group]) -> None:
        self._driver = driver
        self.groups = groups
        self.server = RaftServer(driver, groups)

    @staticmethod
    async def start(
        world: World,
        cluster: ClusterId,
        node: NodeId,
        machines: Mapping[GroupId, tuple[StateMachine, Membership]],
        notify: Callable[[Address, RaftMessages], None],
        *,
        timing: Timing | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        observer: Observer | None = None,
    ) -> "RaftNode":
        """``machines`` are empty; the log fills them again as it is committed.

        Raises ``BadConfiguration`` if the log is another node's or not there at all, and
        ``CorruptData`` if it is damaged: then no replica here may vote or acknowledge.
        """
        wal, recovered = await Wal.open(world.disk, cluster, node, segment_bytes=segment_bytes)
        driver = Driver(world, wal, notify, observer)
        groups: dict[GroupId, Group] = {}
        for group, (machine, membership) in machines.items():
            found = recovered.get(group) or Recovered(HardState(), 0, 0, [])
            check(found.cut_index == 0, "a log that was cut needs its snapshot")
            log = Log(EntryId(found.cut_index, found.cut_term), found.entries)
            replica = Replica(
                membership.replica,
                list(membership.addresses),
                log,
                found.state,
                now_ms=world.clock.monotonic_ms(),
                draw=world.random.random,
                timing=timing or Timing(),
                limits=Limits(),
            )
            groups[group] = Group(
                world, driver, group, machine, replica, membership.addresses, observer
            )
        return RaftNode(driver, groups)

    def stop(self) -> None:
        """Take no further step."""
        self._driver.stop()
