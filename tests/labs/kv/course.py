"""All simulated tests of the key/value labs, in the order of the course."""

from labs.kv import basics, generic, rsm, snapshots, versions
from labs.kv.lab import KV_COURSE

__all__ = ["KV_COURSE", "basics", "generic", "rsm", "snapshots", "versions"]
