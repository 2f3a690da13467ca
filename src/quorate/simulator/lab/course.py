"""All tests of the course's Raft lab: 2A elections, 2B the log, 2C persistence, 2D snapshots."""

from quorate.simulator.lab import agreement, elections, persistence, snapshots
from quorate.simulator.lab.registry import ALL, LabTest

PARTS = (elections, agreement, persistence, snapshots)
COURSE: dict[str, LabTest] = {
    name: test
    for part in PARTS
    for name, test in ALL.items()
    if test.body.__module__ == part.__name__
}
