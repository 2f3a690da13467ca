"""Lab 2D: the log is cut behind snapshots, and those who need what was cut get the snapshot.

Servers take a snapshot when they have applied ten entries, and the persisted state without
snapshots stays below 2,000 bytes.
"""

from quorate.simulator.lab.registry import lab_test
from quorate.simulator.lab.tester import SNAPSHOT_COMMANDS, Lab

LOG_BYTES = 2_000
ROUNDS = 30


@lab_test("2D", servers=3, snapshots=True)
async def snapshots_basic(lab: Lab) -> None:
    """Everybody is there."""
    await _rounds(lab)


@lab_test("2D", servers=3, snapshots=True)
async def snapshots_install(lab: Lab) -> None:
    """A server, the leader in one round of three, is cut off while the others go on."""
    await _rounds(lab, disconnect=True)


@lab_test("2D", servers=3, snapshots=True)
async def snapshots_install_unreliable(lab: Lab) -> None:
    """The same over a bad network."""
    lab.unreliable()
    await _rounds(lab, disconnect=True)


@lab_test("2D", servers=3, snapshots=True)
async def snapshots_install_crash(lab: Lab) -> None:
    """A server, the leader in one round of three, is down while the others go on."""
    await _rounds(lab, crash=True)


@lab_test("2D", servers=3, snapshots=True)
async def snapshots_install_unreliable_crash(lab: Lab) -> None:
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
        for _ in range(SNAPSHOT_COMMANDS // 2 + lab.random.randrange(SNAPSHOT_COMMANDS)):
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
    if lab.strict:  # of a learner's, the tester takes them: that they are many says nothing
        _many_snapshots(lab, disconnect or crash)


def _many_snapshots(lab: Lab, away: bool) -> None:
    taken = min(lab.history.snapshots[lab.name(server)] for server in lab.servers)
    lab.at_least("snapshots taken by each server", taken, 10)
    if away:
        lab.at_least("snapshots installed", lab.history.installs, 5)


@lab_test("2D", servers=3, snapshots=True)
async def snapshots_all_crash(lab: Lab) -> None:
    """All crash at once, five times, and come back from snapshot and log: no index is given
    again."""
    await lab.one(lab.fresh(), 3)
    for _ in range(5):
        for _ in range(5 + lab.random.randrange(10)):
            await lab.one(lab.fresh(), 3)
        before = await lab.one(lab.fresh(), 3)
        await _all_crash(lab)
        after = await lab.one(lab.fresh(), 3)
        lab.demand(after.index > before.index, "after a crash of all no index is given again")
    lab.at_least("lives that began from a snapshot", lab.history.starts, 9)


@lab_test("2D", servers=3, snapshots=True)
async def snapshots_init(lab: Lab) -> None:
    """What is written after a start from a snapshot does not lose the snapshot."""
    await lab.one(lab.fresh(), 3)
    for _ in range(SNAPSHOT_COMMANDS + 1):
        await lab.one(lab.fresh(), 3)
    await _all_crash(lab)
    await lab.one(lab.fresh(), 3)  # so that something is written
    await _all_crash(lab)
    await lab.one(lab.fresh(), 3)
    lab.exactly("commands kept", len(lab.history.distinct), SNAPSHOT_COMMANDS + 4)
    lab.at_least("lives that began from a snapshot", lab.history.starts, 6)


async def _all_crash(lab: Lab) -> None:
    lab.crash(*lab.servers)
    await lab.restart(*lab.servers)
    lab.connect(*lab.servers)
