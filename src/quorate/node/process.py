"""The composition root of one process: ``python -m quorate.node.process PARENT CONFIG ROLE``.

Checks who this machine is, builds the real world below ``data_dir/ROLE`` and starts the role in
it.  What it says to its supervisor stands in ``reports.py``.  SIGTERM, and the end of standard
input, stop it in order; an error that no part can go on after ends it at once, with its sentence.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec

from quorate.base.codec import UNREADABLE
from quorate.base.errors import BadConfiguration, QuorateError
from quorate.base.ids import Address
from quorate.gateways.resp.door import start_resp
from quorate.gateways.resp.gateway import RespSettings
from quorate.kv.core.items import Table
from quorate.kv.service import KvService
from quorate.node.config import NodeConfig, load
from quorate.node.examination import life
from quorate.node.identity import NodeIdentity, require_identity
from quorate.node.known import known_in, write_known
from quorate.node.lock import FileLock
from quorate.node.loop_lag import watch_loop
from quorate.node.operating_system import resident_bytes
from quorate.node.parent import die_with_parent, when_parent_ends
from quorate.node.reports import PROCESSES_FILE, Ready, RunningProcess, failed, report
from quorate.node.roles import ROLES, Gateway, Setting
from quorate.runtime.ports import World
from quorate.runtime.real.spill import Spill
from quorate.runtime.real.trace import RealTrace
from quorate.runtime.real.world import close_world, end_process, real_world, run

LOCK_PATIENCE_MS = 5_000.0
"""A process of a supervisor that was killed needs a moment to end."""
STOP_MS = 3_000.0

_processes = msgspec.json.Decoder(list[RunningProcess])


def main(parent_pid: str, config_file: str, role: str) -> int:
    """Be the process of ``role`` until told to stop; the exit code."""
    die_with_parent(int(parent_pid))
    try:
        run(lambda: _serve(Path(config_file), role))
    except QuorateError as error:
        _end(error)
    return 0


def _end(error: BaseException) -> NoReturn:
    if isinstance(error, QuorateError):
        report(failed(error))
    end_process(error)


async def _serve(config_file: Path, role: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    when_parent_ends(stopping.set)
    config = load(config_file)
    machine = require_identity(config, config_file)
    lock = FileLock(config.data_path / f"{role}.lock", LOCK_PATIENCE_MS)
    trace = RealTrace(sys.stderr, role)
    world = real_world(config.disk_path(role), trace=trace, tls=config.tls_paths, stop=_end)
    setting = _setting(world, config, machine, role)
    started = await ROLES[role](setting)
    world.spawn(watch_loop(world.clock, setting.loop_lag_ms), "loop lag")
    report(Ready((RunningProcess(role, os.getpid()),)))
    await stopping.wait()
    try:
        async with asyncio.timeout(STOP_MS / 1000):
            await started.close()
            await close_world(world)
    except TimeoutError:
        trace.error(f"did not stop within {STOP_MS:.0f} ms")
    lock.release()


def _setting(world: World, config: NodeConfig, machine: NodeIdentity, role: str) -> Setting:
    return Setting(
        world=world,
        machine=machine,
        address=config.role_addresses()[role],
        doors={node.name: Address(node.rpc) for node in config.nodes},
        known=known_in(config.data_path),
        remember=partial(write_known, config.data_path),
        timing=config.raft,
        tasks=config.worker.tasks,
        life=life(config.role_addresses()[role], config.data_path),
        max_store_bytes=config.kv.bound_bytes,
        make_table=tables_of(config) if role == "raft" else None,
        spill=Spill(config.disk_path(role)) if config.kv.store == "disk" else None,
        gateway=partial(_open_gateway, world, config),
        processes=lambda: _read_processes(config.data_path / PROCESSES_FILE),
    )


def tables_of(config: NodeConfig) -> Callable[[], Table] | None:
    """What makes the tables of the key/value store; ``None``: they are in memory.

    Raises ``BadConfiguration`` if what a store on the disk needs is not installed.
    """
    if config.kv.store != "disk":
        return None
    try:
        from quorate.kv.disk_table import DiskTables
    except ImportError as error:
        raise BadConfiguration(
            f"kv.store is 'disk', and what that needs is not installed ({error.name}):"
            " pip install 'quorate[disk]'."
        ) from error
    return DiskTables(str(config.tables_path), stop=_end)


async def _open_gateway(world: World, config: NodeConfig, service: KvService) -> Gateway:
    settings = RespSettings(config.kv.password, config.kv.max_clients)
    address = Address(config.addresses.resp)
    return await start_resp(world, service, address, config.tls_paths, settings)


def _read_processes(path: Path) -> list[RunningProcess]:
    try:
        found = _processes.decode(path.read_bytes())
    except (OSError, *UNREADABLE):
        return []
    return [RunningProcess(one.role, one.pid, resident_bytes(one.pid)) for one in found]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
