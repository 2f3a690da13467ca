"""Keeps the store within what its machines can hold: proposes the ``Limit`` (core/room.py).

Who leads the store's group asks the machines of all voters every second how much room they have.
One that does not answer counts with what it said last, and not at all after ``FORGET_MS``: it may
be gone for good, and must not hold up the others for ever.  A new leader has heard nobody yet, so
for that long it loosens nothing unless all have answered.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from quorate.base.codec import Request
from quorate.base.errors import QuorateError
from quorate.base.ids import Address, ReplicaId
from quorate.base.together import together
from quorate.kv.core.commands import Limit
from quorate.kv.core.room import Room, limit_for, reserve_bytes
from quorate.kv.core.store import Store
from quorate.kv.messages import AskRoom
from quorate.raft.group import Group
from quorate.raft.snapshotter import STATE_SHARE
from quorate.rpc.client import RpcClient
from quorate.rpc.server import Call, Handler
from quorate.runtime.ports import World

LOOK_MS = 1_000.0
ASK_MS = 1_000.0
PROPOSE_MS = 5_000.0
FORGET_MS = 60_000.0
LOG_SHARE = 3 / STATE_SHARE
"""A log that is not in memory grows to that part of the state, in the segments, with what they have
of others, and in the files that stand for memory (raft/wal, runtime/real/spill.py)."""


class Machine(NamedTuple):
    """That a replica of the store is on."""

    name: str
    replica: ReplicaId
    max_bytes: int
    """The store may take there; 0: no bound."""
    log_share: float = 0.0
    """Of the store, that its log may take on the disk beyond what any log takes."""


class Keeper:
    """One node's; it only acts where the group is led."""

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        group: Group,
        store: Store,
        machine: Machine,
    ) -> None:
        self._clock = world.clock
        self._disk = world.disk
        self._rpc = rpc
        self._group = group
        self._store = store
        self._machine = machine
        self._heard: dict[ReplicaId, tuple[float, Room]] = {}
        """When, and what."""
        self._leads_since_ms = 0.0
        self.requests: Mapping[type[Request[Any]], Handler] = {AskRoom: self._tell}
        group.on_leadership(self._begin)
        world.spawn(self._keep(), "room for the store")

    def _tell(self, request: AskRoom, call: Call) -> Room:
        return self.room()

    def room(self) -> Room:
        """What this machine says."""
        machine = self._machine
        reserve = reserve_bytes(
            self._store.state,
            is_snapshotting=self._group.snapshotter.is_busy,
            log_share=machine.log_share,
        )
        return Room(machine.name, machine.max_bytes, self._disk.free_bytes(), reserve)

    def _begin(self, leads: bool) -> None:
        self._heard.clear()
        self._leads_since_ms = self._clock.monotonic_ms()

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(LOOK_MS)
            if self._group.is_leader:
                await self._look()

    async def _look(self) -> None:
        configuration = self._group.configuration
        voters = configuration.electors
        await together(self._ask(voter, configuration.addresses[voter]) for voter in voters)
        now_ms = self._clock.monotonic_ms()
        known = [self._heard[voter] for voter in voters if voter in self._heard]
        fresh = [room for at_ms, room in known if now_ms - at_ms < FORGET_MS]
        heard_all = len(known) == len(voters) or now_ms - self._leads_since_ms >= FORGET_MS
        state = self._store.state
        in_force = Limit(state.max_bytes, state.restricted)
        wanted = limit_for(fresh, in_force, heard_all=heard_all)
        if wanted == in_force or not self._group.is_leader:
            return
        with suppress(QuorateError):  # then the next look finds that it is still to be done
            await self._group.execute(wanted, timeout_ms=PROPOSE_MS)

    async def _ask(self, voter: ReplicaId, address: Address) -> None:
        if voter == self._machine.replica:
            self._heard[voter] = (self._clock.monotonic_ms(), self.room())
            return
        with suppress(QuorateError):  # what it said last counts
            room = await self._rpc.call(address, AskRoom(), timeout_ms=ASK_MS)
            self._heard[voter] = (self._clock.monotonic_ms(), room)
