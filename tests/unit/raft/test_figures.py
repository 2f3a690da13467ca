"""What replicas count is what happened to them."""

from unit.raft.test_snapshotter import Run

from quorate.raft.core.settings import Limits

WRITES = 30
FEW = Limits(snapshot_log_bytes=10_000, retained_log_bytes=4_000)


def test_a_leader_times_its_own_entries_and_each_replica_counts_what_it_applied() -> None:
    with Run(1, FEW) as run:
        run.append(WRITES)
        run.wait(run.all_equal)
        leader = run.leader
        figures = {name: run.group(name).figures() for name in run.cluster.names}
        own = figures[leader]
        assert own.leads and own.commit_latency_ms.count >= WRITES
        assert 0 < own.commit_latency_ms.total < 60_000
        assert (own.proposals_waiting, own.proposal_bytes_waiting, own.reads_waiting) == (0, 0, 0)
        assert list(own.follower_lags.values()) == [0, 0]
        assert len({found.commands_applied for found in figures.values()}) == 1
        assert own.commands_applied >= WRITES
        assert own.elections >= 1
        for name, found in figures.items():
            node = run.cluster.raft_nodes[name].figures()
            assert node.sync_ms.count > 0 and node.log_bytes > WRITES * 1_000
            assert found.snapshots.written >= 2
            assert found.snapshots.written_bytes > found.snapshots.written
            if name != leader:
                assert not found.leads and found.follower_lags == {}
                assert found.commit_latency_ms.count == 0


def test_a_leader_shows_how_far_a_follower_that_is_down_is_behind() -> None:
    with Run(2) as run:
        run.append(3)
        run.wait(run.all_equal)
        leader, name = run.leader, run.follower
        run.cluster.kill(name)
        run.append(WRITES)
        lags = sorted(run.group(leader).figures().follower_lags.values())
        assert lags[0] <= 2 and lags[1] >= WRITES
