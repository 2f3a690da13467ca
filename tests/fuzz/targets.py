"""All parsers of what comes from outside: network, disks, files, command line."""

from fuzz import (
    disk_targets,
    history_targets,
    machine_targets,
    raft_targets,
    resp_targets,
    rpc_targets,
    snapshot_targets,
    text_targets,
)
from fuzz.target import Target

_MODULES = (
    rpc_targets,
    raft_targets,
    machine_targets,
    disk_targets,
    snapshot_targets,
    history_targets,
    text_targets,
    resp_targets,
)
TARGETS: dict[str, Target] = {
    target.name: target for module in _MODULES for target in module.TARGETS
}
