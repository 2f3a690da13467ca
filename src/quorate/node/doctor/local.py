"""What is wrong on the machine where the doctor runs: its data directory, read and not changed.

While the node runs its files change, and it says itself what it knows; so only what identifies it,
and the free space, is looked at then, and its log only while no process writes it: a node whose
replicas are damaged runs without that process until it can have them rebuilt.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from quorate.base.errors import BadConfiguration, CorruptData, QuorateError
from quorate.node.config import NodeConfig
from quorate.node.doctor.facts import Finding, Severity
from quorate.node.doctor.machines import space
from quorate.node.identity import NodeIdentity, identity_in, require_identity
from quorate.node.lock import is_held
from quorate.node.rebuilding import ASIDE, REBUILD_FILE, RebuildRecord, read_rebuild
from quorate.node.survivor import RAFT_LOCK, read_survivor, runs
from quorate.raft.digests import QUARANTINE_FILE
from quorate.runtime.real.disk import RealDisk

_REPLACE = (
    "give this machine a new, empty data directory and take it in as a new machine ('quorate"
    " join'), then take the old one out ('quorate cluster remove'): while a majority of the others"
    " runs, they have the whole log.  Chunks of files may be here alone, and 'remove' says so: keep"
    " this directory until it does not."
)
_REBUILD = (
    "start it ('quorate node --config FILE'), or let it run: as soon as a leader of the others"
    " answers it is rebuilt from them by itself, under a new id and with its old name."
)


def look_here(config: NodeConfig, config_file: Path) -> list[Finding]:
    """Findings of the machine of ``config``."""
    found: list[Finding] = []
    identity: NodeIdentity | None = None
    try:
        identity = identity_in(config.data_path)
        require_identity(config, config_file)
    except QuorateError as error:
        found.append(_identity(config, error, there=identity is not None))
    else:
        record = _rebuild_record(config)
        if record is not None:
            found.append(_rebuilding(config, record))
        elif not runs(config):
            found += _log(config, config_file)
        elif not is_held(config.data_path / RAFT_LOCK):
            damaged = [one for one in _log(config, config_file) if one.kind != "not-running"]
            found += damaged if not is_held(config.data_path / RAFT_LOCK) else []
        if not found and runs(config):
            return []
    short = list(_space(config))
    if short:  # nothing that writes comes before that
        found = [one._replace(do=f"make room first; then {one.do}") for one in found]
    return found + short


def _finding(kind: str, sentence: str, do: str, do_not: str = "") -> Finding:
    return Finding(Severity.RISK, kind, sentence, do, do_not)


def _identity(config: NodeConfig, error: QuorateError, *, there: bool) -> Finding:
    if isinstance(error, CorruptData):
        return _finding("identity-damaged", _said(config, error), _REPLACE)
    if there:
        return _finding(
            "swapped-disk",
            _said(config, error),
            "put the disk of this machine back, or use the configuration that belongs to this disk;"
            " nothing on it was changed.",
            "bootstrap or wipe this disk: it may be another machine's only copy.",
        )
    return _finding(
        "no-identity",
        _said(config, error),
        "if its disk was lost, take it in as a new machine: 'quorate join'; if a mount is missing,"
        " mount it.",
        "bootstrap it again under its old name: what it promised is gone with its disk.",
    )


def _rebuild_record(config: NodeConfig) -> RebuildRecord | None:
    with closing(RealDisk(config.data_path)) as disk:
        return read_rebuild(disk, config.data_path)


def _rebuilding(config: NodeConfig, record: RebuildRecord) -> Finding:
    return _finding(
        "rebuilding",
        f"{config.name} is being rebuilt from the others under the new id {record.node}."
        f"  {record.why}",
        "wait, and ask again."
        if runs(config)
        else "start it ('quorate node --config FILE'): it goes on where it was.",
        f"remove {REBUILD_FILE}, or start anything with what is in {ASIDE}*.",
    )


def _log(config: NodeConfig, config_file: Path) -> Iterator[Finding]:
    identity = require_identity(config, config_file)
    heard: list[str] = []
    try:
        read_survivor(config, identity, heard.append)
    except CorruptData as error:
        if (config.disk_path("raft") / QUARANTINE_FILE).exists():
            yield _finding(
                "diverged", _said(config, error), _REBUILD, f"remove {QUARANTINE_FILE} to start it."
            )
        else:
            yield _finding(
                "damaged-log" if error.code == "log_damaged" else "damaged-snapshot",
                _said(config, error),
                _REBUILD,
                "repair or remove that file by hand: nobody can know what this node promised.",
            )
    except BadConfiguration as error:
        yield _finding(
            "swapped-disk",
            _said(config, error),
            "put the disk of this machine back.",
            "bootstrap or wipe this disk: it may be another machine's only copy.",
        )
    else:
        for sentence in heard:
            yield _finding(
                "damaged-snapshot",
                f"{config.name} runs without it, but its disk has changed bytes: {sentence}",
                "look at that disk; if that comes again, replace it.",
            )
        yield _finding(
            "not-running",
            f"{config.name} does not run; its identity, its log and its snapshots are whole,"
            f" {'but for that' if heard else 'to the last byte'}.",
            f"start it: 'quorate node --config {config_file}'.",
        )


def _said(config: NodeConfig, error: QuorateError) -> str:
    return f"{config.name} cannot run: {error.message}"


def _space(config: NodeConfig) -> Iterator[Finding]:
    folder = config.data_path
    while not folder.exists():
        folder = folder.parent
    yield from space(config.name, shutil.disk_usage(folder).free)
