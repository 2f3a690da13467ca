"""What leaves when: nothing that waits for the disk before its sync, nothing after a failure."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest
from raft_replicas import FOUR, ME, THREE, TWO, append, configured, entries, follower, group_of

from quorate.base.codec import decode, encode
from quorate.base.errors import DiskFailed, ProtocolError
from quorate.base.ids import Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.raft.core.configuration import founding
from quorate.raft.core.entries import Entry, Snapshot
from quorate.raft.core.events import ReadReady
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    Message,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica, Role
from quorate.raft.driver import Driver, waits_for_disk
from quorate.raft.messages import Envelope, RaftMessages
from quorate.raft.sessions import MAX_COMMAND_BYTES
from quorate.raft.wal import Wal
from quorate.rpc.frames import CONNECTION, MAX_CONTROL_FRAME_BYTES, NOTICE, encode_frame
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation

CLUSTER = ClusterId("d" * 32)
GROUPS = [GroupId(1), GroupId(2)]
SYNC_MS = 50.0


class Owner:
    def __init__(self) -> None:
        self.reads: list[ReadReady] = []
        self.offers: list[tuple[ReplicaId, Snapshot]] = []

    def advanced(self) -> None:
        return

    def propose_gathered(self) -> None:
        return

    def reads_ready(self, reads: list[ReadReady]) -> None:
        self.reads += reads

    def install(self, source: ReplicaId, snapshot: Snapshot) -> None:
        self.offers.append((source, snapshot))


class Desk:
    """A driver with followers of two groups, and what it sent: when, and to whom."""

    def __init__(self, world: World, wal: Wal, disk: Any, replicas: Sequence[Replica]) -> None:
        self.world = world
        self.wal = wal
        self.disk = disk
        self.replicas = list(replicas)
        self.sent: list[tuple[float, Message]] = []
        self.notices: list[RaftMessages] = []
        self.addressed: list[Address] = []
        self.driver = Driver(world, wal, self._notify)
        for group, replica in zip(GROUPS, replicas, strict=False):
            addresses = dict(replica.configuration.addresses)
            self.driver.host(group, replica, addresses, Owner())
        self.began_ms = world.clock.monotonic_ms()

    def _notify(self, address: Address, notice: RaftMessages) -> None:
        self.notices.append(notice)
        self.addressed.append(address)
        at_ms = self.world.clock.monotonic_ms() - self.began_ms
        self.sent += [(at_ms, envelope.message) for envelope in notice.envelopes]

    def hear(self, *messages: Message, sender: ReplicaId = TWO, group: GroupId = GROUPS[0]) -> None:
        self.driver.receive(
            RaftMessages([Envelope(group, sender, ME, message) for message in messages])
        )

    def take(self) -> list[Message]:
        """What has been sent since the last time."""
        sent, self.sent = self.sent, []
        return [message for _, message in sent]

    async def pass_ms(self, delay_ms: float) -> None:
        await self.world.clock.sleep(delay_ms)


Scenario = Callable[[Desk], Coroutine[Any, Any, None]]


def run(scenario: Scenario, *, replicas: int = 1, voters: int = 3) -> SimulatedProcess:
    with Simulation(1) as simulation:
        machine = simulation.machine("m1")
        machine.disk.faults.sync_ms = (0.0, 0.0)

        async def main(world: World) -> None:
            await Wal.create(world.disk, CLUSTER, NodeId(1), segment_bytes=1 << 16)
            wal, _ = await Wal.open(world.disk, CLUSTER, NodeId(1), segment_bytes=1 << 16)
            machine.disk.faults.sync_ms = (SYNC_MS, SYNC_MS)
            machine.disk.faults.bytes_per_ms = 1e9
            made = [follower(voters=voters) for _ in range(replicas)]
            for replica in made:
                replica.reset_election_timer(world.clock.monotonic_ms())
            await scenario(Desk(world, wal, machine.disk, made))

        process = machine.start_process("raft", main)
        simulation.run_until(lambda: not process.alive, 60_000)
        return process


def play(scenario: Scenario, *, replicas: int = 1, voters: int = 3) -> None:
    process = run(scenario, replicas=replicas, voters=voters)
    if process.error is not None:
        raise process.error


async def lead(desk: Desk) -> None:
    """Have the first replica elected, and forget what that took."""
    replica = desk.replicas[0]
    while replica.role is not Role.PRE_CANDIDATE:
        await desk.pass_ms(10)
    desk.hear(VoteReply(replica.term + 1, True, pre_vote=True))
    await desk.pass_ms(2 * SYNC_MS)
    desk.hear(VoteReply(replica.term, True))
    assert replica.role is Role.LEADER
    await desk.pass_ms(2 * SYNC_MS)
    desk.hear(AppendReply(replica.term, True, match_index=1))
    desk.take()


@pytest.mark.parametrize(
    ("message", "waits_for_entries", "waits_for_term"),
    [
        (AppendReply(1, True, match_index=4), False, True),
        (AppendReply(1, True, match_index=5), True, True),
        (AppendReply(1, False), False, True),
        (InstallReply(1), False, True),
        (VoteReply(1, True), True, True),
        (VoteReply(1, False), True, True),
        (VoteReply(1, True, pre_vote=True), False, False),
        (VoteRequest(1, 0, 0), True, True),
        (VoteRequest(1, 0, 0, pre_vote=True), False, False),
        (AppendRequest(1, 0, 0, 0, []), False, False),
        (TimeoutNow(1), False, False),
    ],
)
def test_what_a_crash_must_not_take_back_waits_for_the_disk(
    message: Message, waits_for_entries: bool, waits_for_term: bool
) -> None:
    assert waits_for_disk(message, 4, durable_term=True) is waits_for_entries
    assert waits_for_disk(message, 4, durable_term=False) is waits_for_term


def test_an_append_is_acknowledged_when_its_sync_has_returned_and_not_before() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hear(append(1, new=[1, 1]))
        await desk.pass_ms(SYNC_MS - 1)
        assert desk.sent == []
        await desk.pass_ms(2)
        assert desk.take() == [AppendReply(1, True, match_index=2)]

    play(scenario)


def test_a_vote_is_sent_when_its_sync_has_returned_and_not_before() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hear(VoteRequest(5, 9, 4))
        await desk.pass_ms(SYNC_MS - 1)
        assert desk.sent == []
        await desk.pass_ms(2)
        assert desk.take() == [VoteReply(5, True)]

    play(scenario)


def test_what_comes_during_a_sync_waits_for_the_next_one() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hear(append(1, new=[1]))
        await desk.pass_ms(SYNC_MS / 2)  # the batch is closed and on its way
        desk.hear(append(1, (1, 1), [1]))
        await desk.pass_ms(SYNC_MS / 2 + 1)
        assert desk.take() == [AppendReply(1, True, match_index=1)]
        await desk.pass_ms(SYNC_MS - 2)
        assert desk.sent == []
        await desk.pass_ms(2)
        assert desk.take() == [AppendReply(1, True, match_index=2)]

    play(scenario)


def test_a_heartbeat_is_answered_while_the_disk_is_slow_for_what_is_on_it() -> None:
    """So that a slow sync is not taken for a dead follower, and holds up no read."""

    async def scenario(desk: Desk) -> None:
        desk.hear(append(1, new=[1]))
        await desk.pass_ms(SYNC_MS + 1)
        desk.take()
        desk.hear(append(1, (1, 1), new=[1]))
        await desk.pass_ms(SYNC_MS / 2)
        desk.hear(append(1, (2, 1)))
        assert desk.take() == [AppendReply(1, True, match_index=1)]
        await desk.pass_ms(SYNC_MS / 2 + 1)
        assert desk.take() == [AppendReply(1, True, match_index=2)]
        desk.hear(append(1, (2, 1)))
        assert desk.take() == [AppendReply(1, True, match_index=2)]

    play(scenario)


def test_a_heartbeat_of_a_new_term_is_answered_when_the_term_is_on_disk() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hear(append(7))
        await desk.pass_ms(SYNC_MS / 2)
        assert desk.sent == []
        await desk.pass_ms(SYNC_MS / 2 + 1)
        assert desk.take() == [AppendReply(7, True)]

    play(scenario)


def test_one_sync_serves_all_groups() -> None:
    async def scenario(desk: Desk) -> None:
        syncs = desk.wal.stats.syncs
        desk.hear(append(1, new=[1]))
        desk.hear(append(1, new=[1, 1]), group=GROUPS[1])
        await desk.pass_ms(SYNC_MS + 1)
        assert desk.take() == [
            AppendReply(1, True, match_index=1),
            AppendReply(1, True, match_index=2),
        ]
        assert desk.wal.stats.syncs == syncs + 1

    play(scenario, replicas=2)


def test_a_candidate_asks_for_votes_when_its_own_is_on_the_disk() -> None:
    async def scenario(desk: Desk) -> None:
        replica = desk.replicas[0]
        while replica.role is not Role.PRE_CANDIDATE:
            await desk.pass_ms(10)
        desk.take()
        desk.hear(VoteReply(1, True, pre_vote=True))
        assert replica.role is Role.CANDIDATE
        await desk.pass_ms(SYNC_MS - 1)
        assert [message for message in desk.take() if waits_for_disk(message)] == []
        await desk.pass_ms(2)
        assert desk.take() == [VoteRequest(1, 0, 0)] * 2

    play(scenario)


def test_a_leader_sends_entries_while_its_own_write_runs_and_counts_itself_after() -> None:
    async def scenario(desk: Desk) -> None:
        await lead(desk)
        replica = desk.replicas[0]
        assert desk.driver.propose(GROUPS[0], [b"a", b"b"]) == 2
        await desk.pass_ms(1)
        requests = [message for message in desk.take() if isinstance(message, AppendRequest)]
        assert [len(request.entries) for request in requests if request.entries] == [2]
        desk.hear(AppendReply(replica.term, True, match_index=3))
        assert replica.commit_index == 1  # a majority would be two disks
        await desk.pass_ms(SYNC_MS)
        assert (replica.durable_index, replica.commit_index) == (3, 3)

    play(scenario)


def test_what_is_proposed_in_one_turn_leaves_as_one_notice_to_each_node() -> None:
    async def scenario(desk: Desk) -> None:
        await lead(desk)
        desk.notices.clear()
        desk.driver.propose(GROUPS[0], [b"a"])
        desk.driver.propose(GROUPS[0], [b"b"])
        await desk.pass_ms(1)
        requests = [len(notice.envelopes) for notice in desk.notices]
        assert requests == [2]  # the third node has not answered yet: it is probed, not flooded

    play(scenario)


def test_leaders_of_one_node_beat_together_whenever_they_were_elected() -> None:
    """So what all of them say to one node is one notice."""

    async def scenario(desk: Desk) -> None:
        await lead(desk)
        await desk.pass_ms(37)
        second = desk.replicas[1]
        desk.hear(VoteReply(second.term + 1, True, pre_vote=True), group=GROUPS[1])
        await desk.pass_ms(SYNC_MS + 1)
        desk.hear(VoteReply(second.term, True), group=GROUPS[1])
        assert [replica.role for replica in desk.replicas] == [Role.LEADER] * 2
        await desk.pass_ms(100)
        desk.notices.clear()
        await desk.pass_ms(300)
        groups = [[envelope.group for envelope in notice.envelopes] for notice in desk.notices]
        assert groups == [GROUPS] * 2 * 3  # to two nodes, three times

    play(scenario, replicas=2)


def test_a_failed_sync_ends_the_process_and_nothing_that_waited_leaves() -> None:
    desks: list[Desk] = []

    async def scenario(desk: Desk) -> None:
        desks.append(desk)
        desk.hear(append(1, new=[1]))
        await desk.pass_ms(SYNC_MS / 2)
        desk.disk.faults.fail_next_syncs = 1
        desk.hear(append(1, (1, 1), [1]))
        await desk.pass_ms(10 * SYNC_MS)

    process = run(scenario)
    assert isinstance(process.error, DiskFailed)
    assert desks[0].sent == []


def test_between_a_failed_sync_and_the_end_of_the_process_nothing_is_acknowledged() -> None:
    """Whatever runs in the same turn after the failure finds a driver that has stopped."""

    async def scenario(desk: Desk) -> None:
        desk.hear(append(1, new=[1]))
        await desk.pass_ms(SYNC_MS / 2)
        desk.disk.faults.fail_next_syncs = 1
        ends: list[BaseException] = []
        desk.world.stop = ends.append  # a process that takes its time to end
        await desk.pass_ms(SYNC_MS / 2 + 1)
        assert desk.wal.failed
        desk.hear(append(1, (1, 1)))
        desk.hear(VoteRequest(9, 9, 9))
        assert desk.driver.propose(GROUPS[0], [b"a"]) is None
        await desk.pass_ms(5_000)  # and its timers are dead
        assert desk.sent == []
        assert [type(error) for error in ends] == [DiskFailed]
        assert desk.replicas[0].term == 1

    play(scenario)


def test_a_cancelled_sync_stops_the_driver_too() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hear(append(1, new=[1]))
        await desk.pass_ms(SYNC_MS / 2)
        await desk.world.cancel_all()
        desk.hear(append(1, (1, 1)))
        await desk.pass_ms(5_000)
        assert desk.sent == []

    play(scenario)


def test_a_stopped_driver_sends_nothing_though_its_last_sync_returns() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hear(append(1, new=[1]))
        await desk.pass_ms(SYNC_MS / 2)
        desk.driver.stop()
        await desk.pass_ms(5_000)
        assert desk.sent == []

    play(scenario)


@pytest.mark.parametrize(
    "message",
    [
        AppendRequest(1, 3, 1, 0, entries([1], 5)),  # a gap
        AppendRequest(1, 3, 1, 0, entries([2], 4)),  # newer than the request
        AppendRequest(3, 3, 2, 0, entries([1], 4)),  # terms go down
    ],
)
def test_entries_out_of_order_are_refused_with_all_that_comes_after_them(message: Message) -> None:
    async def scenario(desk: Desk) -> None:
        before = desk.replicas[0].term
        with pytest.raises(ProtocolError, match="entries out of order"):
            desk.hear(message, append(9))
        await desk.pass_ms(2 * SYNC_MS)
        assert desk.sent == []
        assert desk.replicas[0].term == before

    play(scenario)


@pytest.mark.parametrize(
    "message",
    [
        AppendRequest(1, -2, 1, 0, entries([1, 1, 1], -1)),  # before the beginning
        AppendRequest(1, 0, 0, -1, []),
        AppendRequest(-1, 0, 0, 0, []),
        AppendReply(1, True, match_index=-1),
        VoteRequest(-1, 0, 0),
        VoteReply(-1, True),
    ],
)
def test_a_negative_number_is_not_even_decoded(message: Message) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(encode(RaftMessages([Envelope(GROUPS[0], TWO, ME, message)])), RaftMessages)


def test_messages_for_a_replica_that_is_not_here_are_dropped() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hear(append(1, new=[1]), group=GroupId(7))
        desk.driver.receive(RaftMessages([Envelope(GROUPS[0], TWO, THREE, append(1, new=[1]))]))
        with pytest.raises(ProtocolError, match="1 is the name of this replica itself"):
            desk.hear(append(1, new=[1]), sender=ME)
        await desk.pass_ms(2 * SYNC_MS)
        assert desk.sent == []
        assert desk.replicas[0].log.last_index == 0

    play(scenario)


def test_who_is_not_known_here_is_heard_and_answered_once_its_address_is() -> None:
    """A leader may be of a configuration that only it can tell of (thesis §4.2.2)."""
    group = founding({**group_of(3).addresses, FOUR: Address("m4:raft")})

    async def scenario(desk: Desk) -> None:
        desk.hear(append(1), sender=FOUR)
        await desk.pass_ms(2 * SYNC_MS)
        assert desk.replicas[0].leader == FOUR
        assert desk.addressed == []
        desk.hear(AppendRequest(1, 0, 0, 0, [configured(1, 1, group)]), sender=FOUR)
        await desk.pass_ms(2 * SYNC_MS)
        assert desk.addressed == ["m4:raft"]
        assert desk.take() == [AppendReply(1, True, match_index=1)]

    play(scenario)


def test_only_members_are_remembered_as_heard() -> None:
    """A status bears it all: whoever invents senders must not make it grow."""

    async def scenario(desk: Desk) -> None:
        for number in range(4, 1_000):
            desk.hear(VoteRequest(1, 0, 0, pre_vote=True), sender=ReplicaId(number))
        desk.hear(VoteRequest(1, 0, 0, pre_vote=True), sender=THREE)
        desk.hear(append(1), sender=TWO)
        assert set(desk.driver.heard_ms(GROUPS[0])) == {TWO, THREE}
        leaves = configured(1, 1, founding({r: Address(f"m{r}:raft") for r in (ME, TWO)}))
        desk.hear(AppendRequest(1, 0, 0, 0, [leaves]))
        assert set(desk.driver.heard_ms(GROUPS[0])) == {TWO}

    play(scenario)


def test_who_has_left_the_group_is_still_answered() -> None:
    async def scenario(desk: Desk) -> None:
        leaves = configured(1, 1, founding({ME: Address("m1:raft")}))
        desk.hear(AppendRequest(1, 0, 0, 0, [leaves]))
        await desk.pass_ms(2 * SYNC_MS)
        assert desk.addressed == ["m2:raft"]

    play(scenario)


def test_the_largest_entries_fit_into_control_frames() -> None:
    """Commands of 512 KiB beside full batches and heartbeats, with large numbers everywhere."""
    large, batch = bytes(MAX_COMMAND_BYTES + 200), bytes(256 * 1024 + 12 * 512)
    term = index = 1 << 50

    async def scenario(desk: Desk) -> None:
        await lead(desk)
        desk.notices.clear()
        for data in (batch, large, batch, b"x", large, large, *[b"y" * 100] * 3000):
            desk.driver.propose(GROUPS[0], [data])
        await desk.pass_ms(1)
        assert sum(len(n.envelopes) for n in desk.notices) >= 6
        for notice in desk.notices:
            grown = RaftMessages(
                [
                    Envelope(
                        GroupId(index), ReplicaId(index), ReplicaId(index), inflated(e.message)
                    )
                    for e in notice.envelopes
                ]
            )
            assert encode_frame(NOTICE, CONNECTION, 0, grown)[1] <= MAX_CONTROL_FRAME_BYTES

    def inflated(message: Message) -> Message:
        assert isinstance(message, AppendRequest)
        grown = [Entry(index, term, e.kind, e.data) for e in message.entries]
        return AppendRequest(term, index, term, index, grown)

    play(scenario)
