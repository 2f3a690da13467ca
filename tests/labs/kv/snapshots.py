"""Lab 3B, and 4 of 2025: the log stays small, snapshots do, and they bring others up to date."""

from labs.kv.basics import MAX_STATE_BYTES
from labs.kv.generic import LOG_TIMES
from labs.kv.lab import KvLab, kv_lab

from quorate.simulator.lab.tester import ELECTION_MS

SNAPSHOT_BYTES = 500
SIZE_MS = 20_000


@kv_lab("3B", servers=3, max_log_bytes=MAX_STATE_BYTES)
async def snapshot_rpc(lab: KvLab) -> None:
    """Who was cut off while the log was cut gets the snapshot, and serves what is in it."""
    clerk = lab.clerk([0, 1, 2])
    await clerk.put("a", "A")
    await clerk.expect("a", "A")
    lab.partition([0, 1], [2])
    inside = lab.clerk([0, 1])
    for number in range(50):
        await inside.put(str(number), str(number))
    await lab.sleep(ELECTION_MS)
    await inside.put("b", "B")
    bound = LOG_TIMES * MAX_STATE_BYTES
    lab.at_most("log", lab.log_bytes(), bound, "B")
    lab.partition([0, 2], [1])
    other = lab.clerk([0, 2])
    await other.put("c", "C")
    await other.put("d", "D")
    for key, value in (("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")):
        await other.expect(key, value)
    lab.heal()
    await clerk.put("e", "E")
    for key, value in (("c", "C"), ("e", "E"), ("1", "1")):
        await clerk.expect(key, value)
    installed = sum(lab.installed(server) for server in lab.servers)
    lab.at_least("snapshots installed", installed, 1)


@kv_lab("3B", servers=3, max_log_bytes=MAX_STATE_BYTES)
async def snapshot_size(lab: KvLab) -> None:
    """Four hundred puts to one key leave a small log and a small snapshot."""
    clerk, began_ms = lab.clerk(), lab.now_ms()
    for _ in range(200):
        for value in ("0", "1"):
            await clerk.put("x", value)
            await clerk.expect("x", value)
    bound = LOG_TIMES * MAX_STATE_BYTES
    lab.at_most("log", lab.log_bytes(), bound, "B")
    lab.at_most("snapshot", lab.snapshot_bytes(), SNAPSHOT_BYTES, "B")
    lab.at_least("snapshots taken", min(map(lab.snapshots_taken, lab.servers)), 10)
    lab.at_most("done in", round(lab.now_ms() - began_ms), SIZE_MS, "ms")
