"""The course's two split brains, as the real system goes through them.

* GFS: the network parts the master from the others, who make another.  The old one believes to be
  master for a while and acts for nobody: whatever changes or reads the names needs a majority (GFS
  has one master, and an outside service to name it; ours is whoever leads the group).
* VMware FT: primary and backup lose each other, and each would go live.  A test-and-set decides,
  on what the paper calls the shared disk (§4.1); here it is a register that a Raft group holds.
"""

from functools import partial

from quorate.base.errors import QuorateError
from quorate.base.ids import NAMESPACE_GROUP, GroupId
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import NodeCluster, RaftCluster, User
from quorate.simulator.timeline.events import Run
from quorate.simulator.timeline.watching import Recording
from quorate.simulator.workloads.registers import Cas, Read, Registers

SEED = 7
PATIENCE_MS = 4_000
DOOR = "live"
"""The register that says who is live; its first letter means nothing to the machine."""


def record_gfs_split_brain() -> Run:
    """Three whole nodes; the master's is cut off while users on both sides make directories."""
    recording = Recording()
    with Simulation(SEED) as simulation:
        cluster = NodeCluster(simulation, 3)
        recording.watch(simulation, cluster)
        recorder = recording.recorder
        recorder.chapter(
            "Three nodes start; one is elected, and with it comes the master of the files."
        )
        cluster.found()
        simulation.run_until(lambda: cluster.leader(NAMESPACE_GROUP) is not None, 10_000)
        simulation.run_for(1_500)
        old = cluster.leader(NAMESPACE_GROUP) or ""
        recorder.chapter(f"{old} is the master. A user makes a directory through it.")
        _make(recording, cluster, "user", "/before")
        recorder.chapter(
            f"The network parts {old}, with one user, from the others, with another. {old} goes on"
            " believing that it is the master, until nobody has answered for an election timeout;"
            " then it gives up. Both users make a directory. The others elect a leader, and with it"
            f" a new master, which can act. What {old} is told it brings to no majority: its user"
            " gets no wrong answer, but none at all before the deadline."
        )
        others = [name for name in cluster.names if name != old]
        arrow = recorder.begin("fault", "", f"{old} is parted from {' and '.join(others)}", "cut")
        inside, outside = [old, "user-there"], [*others, "user"]
        blocked = {(a, b) for a in inside for b in outside}
        simulation.faults.blocked = blocked | {(b, a) for a, b in blocked}
        waiting = _start(recording, cluster, "user-there", "/there")
        simulation.run_for(1_500)
        _make(recording, cluster, "user", "/here")
        simulation.run_until(lambda: not waiting.alive, 2 * PATIENCE_MS)
        recorder.chapter(
            f"The network is whole again. {old} hears of the later term and follows, and its log"
            " becomes that of the others."
        )
        simulation.faults.blocked = set()
        simulation.faults.on_unblock()
        recorder.tell("healed", arrow=arrow)
        simulation.run_for(1_500)
        _make(recording, cluster, "user", "/after")
        return recording.run(
            "The split brain of GFS: of two sides with a master, one can act",
            "python -m quorate.simulator.timeline gfs-split-brain -o FILE.html",
        )


def _make(recording: Recording, cluster: NodeCluster, name: str, path: str) -> None:
    user = _start(recording, cluster, name, path)
    cluster.simulation.run_until(lambda: not user.alive, 2 * PATIENCE_MS)


def _start(recording: Recording, cluster: NodeCluster, name: str, path: str) -> SimulatedProcess:
    work = partial(_mkdir, recording, name, path)
    return cluster.start_user(name, work, timeout_ms=PATIENCE_MS)


async def _mkdir(recording: Recording, name: str, path: str, user: User) -> None:
    recorder = recording.recorder
    arrow = recorder.begin("invoked", name, f"mkdir {path}", "execute", group=NAMESPACE_GROUP)
    try:
        await user.files.mkdir(path)
        text = "made"
    except QuorateError as error:
        text = f"{type(error).__name__}: {error}"
    recorder.tell("returned", name, text, arrow=arrow, group=NAMESPACE_GROUP)


def record_vmft_split_brain() -> Run:
    """Primary and backup ask one register which of them goes live."""
    recording = Recording()
    with Simulation(SEED) as simulation:
        cluster = RaftCluster(simulation, 3, machine=Registers)
        recording.watch(simulation, cluster)
        recorder = recording.recorder
        recorder.chapter(
            "Three nodes hold the register that stands for the shared disk of the paper. It is"
            " empty."
        )
        cluster.found()
        simulation.run_until(lambda: cluster.leader(GroupId(1)) is not None, 10_000)
        simulation.run_for(500)
        recorder.chapter(
            "Primary and backup lose each other, though both live. Each believes the other dead and"
            " would go live alone; before it does, it must win the test-and-set: the register takes"
            " its name, if nobody's is there. Both ask at the same moment."
        )
        arrow = recorder.begin("fault", "", "primary and backup are parted", "cut")
        simulation.faults.blocked = {("primary", "backup"), ("backup", "primary")}
        hosts = [
            cluster.start_client(name, partial(_go_live, recording, name, number))
            for number, name in enumerate(("primary", "backup"), 1)
        ]
        simulation.run_until(lambda: not any(host.alive for host in hosts), 10_000)
        recorder.chapter(
            "One compare-and-set stands before the other in the log of every replica. So one host"
            " is told yes and goes live, and the other is told no and halts itself. Whoever asks"
            " again reads the same name: there are never two."
        )
        simulation.run_for(300)
        recorder.tell("healed", arrow=arrow)
        return recording.run(
            "The split brain of VMware FT: a test-and-set lets one go live",
            "python -m quorate.simulator.timeline vmft-split-brain -o FILE.html",
            evenly=True,
        )


async def _go_live(
    recording: Recording, name: str, number: int, world: World, clients: list[GroupClient]
) -> None:
    won = await clients[0].execute(Cas(DOOR, None, number), timeout_ms=PATIENCE_MS)
    text = "it is live" if won else "it halts: another is live"
    recording.recorder.tell("step", name, text, "execute")
    await clients[0].query(Read(DOOR), timeout_ms=PATIENCE_MS)
