"""Lab 2D: the log is cut behind snapshots, and those who need what was cut get the snapshot.

The labs' servers take a snapshot when they have applied ten entries, and the persisted state
without snapshots stays below 2,000 bytes.  Ours take one by the bytes of entries they have applied,
here those of ten small ones, and keep nothing behind it.
"""

from labs.harness import Lab, lab_test

from quorate.raft.core.entries import ENTRY_BYTES
from quorate.raft.core.settings import Limits

INTERVAL = 10
LIMITS = Limits(snapshot_log_bytes=INTERVAL * (33 + ENTRY_BYTES), retained_log_bytes=0)
"""33 bytes are what an entry with one small command has."""
LOG_BYTES = 2_000
ROUNDS = 30


@lab_test(servers=3, limits=LIMITS)
async def test_snapshots_basic(lab: Lab) -> None:
    """Everybody is there."""
    await _rounds(lab)


@lab_test(servers=3, limits=LIMITS)
async def test_snapshots_install(lab: Lab) -> None:
    """A server, the leader in one round of three, is cut off while the others go on."""
    await _rounds(lab, disconnect=True)


@lab_test(servers=3, limits=LIMITS)
async def test_snapshots_install_unreliable(lab: Lab) -> None:
    """The same over a bad network."""
    lab.unreliable()
    await _rounds(lab, disconnect=True)


@lab_test(servers=3, limits=LIMITS)
async def test_snapshots_install_crash(lab: Lab) -> None:
    """A server, the leader in one round of three, is down while the others go on."""
    await _rounds(lab, crash=True)


@lab_test(servers=3, limits=LIMITS)
async def test_snapshots_install_unreliable_crash(lab: Lab) -> None:
    """The same over a bad network."""
    lab.unreliable()
    await _rounds(lab, crash=True)


async def _rounds(lab: Lab, *, disconnect: bool = False, crash: bool = False) -> None:
    await lab.one(lab.fresh(), 3)
    leader = await lab.one_leader()
    log_bytes = 0
    others = 2 if disconnect or crash else 3
    for number in range(ROUNDS):
        victim, sender = lab.after(leader, 1), leader
        if number % 3 == 1:
            victim, sender = sender, victim
        if disconnect:
            lab.disconnect(victim)
            await lab.one(lab.fresh(), 2)
        if crash:
            lab.crash(victim)
            await lab.one(lab.fresh(), 2)
        for _ in range(INTERVAL // 2 + lab.random.randrange(INTERVAL)):
            await lab.start(sender, lab.fresh())
        await lab.one(lab.fresh(), others)
        log_bytes = max(log_bytes, *map(lab.persisted_log_bytes, lab.servers))
        if disconnect or crash:
            if crash:
                await lab.restart(victim)
            lab.connect(victim)
            await lab.one(lab.fresh(), 3)
            leader = await lab.one_leader()
    lab.at_most("persisted log after each round", log_bytes, LOG_BYTES, "B")
    taken = min(lab.history.snapshots[lab.name(server)] for server in lab.servers)
    lab.at_least("snapshots taken by each server", taken, 10)
    if disconnect or crash:
        lab.at_least("snapshots installed", lab.history.installs, 5)


@lab_test(servers=3, limits=LIMITS)
async def test_snapshots_all_crash(lab: Lab) -> None:
    """All crash at once, five times, and come back from snapshot and log: no index is given
    again."""
    await lab.one(lab.fresh(), 3)
    for _ in range(5):
        for _ in range(5 + lab.random.randrange(10)):
            await lab.one(lab.fresh(), 3)
        before = await lab.one(lab.fresh(), 3)
        await _all_crash(lab)
        after = await lab.one(lab.fresh(), 3)
        assert after.index > before.index, "an index was given again"
    lab.at_least("lives that began from a snapshot", lab.history.starts, 9)


@lab_test(servers=3, limits=LIMITS)
async def test_snapshots_init(lab: Lab) -> None:
    """What is written after a start from a snapshot does not lose the snapshot."""
    await lab.one(lab.fresh(), 3)
    for _ in range(INTERVAL + 1):
        await lab.one(lab.fresh(), 3)
    await _all_crash(lab)
    await lab.one(lab.fresh(), 3)  # so that something is written
    await _all_crash(lab)
    await lab.one(lab.fresh(), 3)
    lab.exactly("commands kept", len(lab.history.distinct), INTERVAL + 4)
    lab.at_least("lives that began from a snapshot", lab.history.starts, 6)


async def _all_crash(lab: Lab) -> None:
    lab.crash(*lab.servers)
    await lab.restart(*lab.servers)
    lab.connect(*lab.servers)
