"""Replicas whose logs are not in memory."""

from typing import Any

import pytest
from unit.raft.test_snapshotter import Run

from quorate.raft.snapshotter import MAX_GROWTH, STATE_SHARE, is_due
from quorate.raft.wal import Wal


def test_a_cluster_whose_logs_are_not_in_memory_replicates_restarts_and_takes_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Wal.open

    async def spilling(*args: Any, **options: Any) -> Any:
        return await opened(*args, **{**options, "spill": memoryview})

    monkeypatch.setattr(Wal, "open", spilling)
    with Run(2) as run:
        run.append(100)
        name = run.follower
        run.cluster.kill(name)
        run.append(5)
        run.cluster.start(name)  # it is sent what the leader has in views
        run.wait(run.all_equal)
        log = run.group(run.leader)._replica.log
        assert all(type(log.entry(log.last_index - back).data) is not bytes for back in range(4))
        assert run.status(name).snapshot_index > 0
        assert run.length() == 105


def test_a_log_that_is_not_in_memory_may_grow_with_the_state() -> None:
    usual = 1 << 20
    for state in (0, usual, MAX_GROWTH * usual, 100 * usual):
        bound = max(usual, min(state, MAX_GROWTH * usual))
        assert not is_due(bound - 1, bound - 1, usual, state)
        assert is_due(bound, bound, usual, state)
        assert is_due(bound, 0, usual, state) is (bound >= state // STATE_SHARE)
    assert not is_due(25 * usual - 1, MAX_GROWTH * usual - 1, usual, 100 * usual)
    assert is_due(25 * usual, 0, usual, 100 * usual)
