"""The store's client while nodes die and leaders change, in virtual time."""

import pytest

from quorate.base.errors import Maybe, Unavailable
from quorate.base.ids import KV_GROUP
from quorate.kv.core.commands import Kind
from quorate.kv.transaction import Transaction
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import NodeCluster, User

ROUNDS = 60


@pytest.mark.parametrize("seed", range(3))
def test_watch_lock_and_counter_survive_the_death_of_each_leader(seed: int) -> None:
    """Each increment is counted once and told once, and the lock stays with its holder."""
    with Simulation(seed) as simulation:
        nodes = NodeCluster(simulation)
        nodes.found()
        simulation.run_until(lambda: nodes.leader(KV_GROUP) is not None, 10_000)
        told: list[int] = []

        async def work(user: User) -> None:
            kv = user.kv
            watching = await kv.watch("count")

            async def listen() -> None:
                async for event in watching:
                    assert event.kind is Kind.PUT
                    told.append(int(event.value))

            listening = user.world.spawn(listen(), "watch")
            async with kv.lock("lock", ttl_s=6) as token:
                for number in range(1, ROUNDS + 1):
                    done = await kv.commit(Transaction().if_lock(token).increment("count"))
                    assert done.held and done.replies == [number]
                    await user.world.clock.sleep(200)
            while len(told) < ROUNDS:
                await user.world.clock.sleep(100)
            listening.cancel()

        client = nodes.start_user("client", work)
        for _ in range(3):
            simulation.run_for(2_500)
            leader = nodes.leader(KV_GROUP)
            if leader is not None:
                nodes.kill(leader, "raft")
                simulation.run_for(1_500)
                nodes.start(leader)
        simulation.run_until(lambda: not client.alive, 120_000)
        if client.error is not None:
            raise client.error
        assert told == list(range(1, ROUNDS + 1))


def test_a_watch_at_a_node_that_is_cut_off_goes_on_at_another() -> None:
    with Simulation(7) as simulation:
        nodes = NodeCluster(simulation)
        nodes.found()
        simulation.run_until(lambda: nodes.leader(KV_GROUP) is not None, 10_000)

        async def work(user: User) -> None:
            watching = await user.kv.watch("a")
            events = user.world.spawn(watching.events(60), "watch")
            await user.world.clock.sleep(500)
            asked = nodes.names[watching._target % 3]
            for other in nodes.names:
                simulation.faults.block(asked, other)
                simulation.faults.block(other, asked)
            await user.world.clock.sleep(2_000)
            await user.kv.put("a", "1")
            began_ms = user.world.clock.monotonic_ms()
            assert (await events)[0].value == b"1"
            assert user.world.clock.monotonic_ms() - began_ms < 10_000

        client = nodes.start_user("client", work)
        simulation.run_until(lambda: not client.alive, 120_000)
        if client.error is not None:
            raise client.error


def test_nodes_that_know_no_leader_do_not_hold_up_a_watch() -> None:
    """Whoever was removed, or cannot hear the others, would let it wait for seconds, each."""
    with Simulation(9) as simulation:
        nodes = NodeCluster(simulation, 5)
        nodes.found()
        simulation.run_until(lambda: nodes.leader(KV_GROUP) is not None, 10_000)

        async def work(user: User) -> None:
            clock = user.world.clock
            for deaf in nodes.names[:2]:
                for other in nodes.names:
                    simulation.faults.block(other, deaf)
            await clock.sleep(5_000)
            watching = await user.kv.watch("a")
            watching._target = 0  # the first that is deaf; the second is next
            begun = user.world.spawn(watching.events(60), "watch")
            await user.kv.put("a", "1")
            began_ms = clock.monotonic_ms()
            assert (await begun)[0].value == b"1"
            assert clock.monotonic_ms() - began_ms < 1_000

        client = nodes.start_user("client", work)
        simulation.run_until(lambda: not client.alive, 120_000)
        if client.error is not None:
            raise client.error


def test_a_view_of_nodes_that_do_not_answer_is_given_up_at_the_deadline() -> None:
    with Simulation(8) as simulation:
        nodes = NodeCluster(simulation)
        nodes.found()
        simulation.run_until(lambda: nodes.leader(KV_GROUP) is not None, 10_000)

        async def work(user: User) -> None:
            clock = user.world.clock
            for name in nodes.names:
                simulation.faults.block("client", name)
            began_ms = clock.monotonic_ms()
            with pytest.raises((Unavailable, Maybe)):
                await user.kv.within(3).view()
            assert 2_000 < clock.monotonic_ms() - began_ms < 3_100
            simulation.faults.unblock("client", nodes.names[2])
            view = await user.kv.within(30).view()
            assert view.opened.keys == 0
            await view.close()

        client = nodes.start_user("client", work)
        simulation.run_until(lambda: not client.alive, 120_000)
        if client.error is not None:
            raise client.error
