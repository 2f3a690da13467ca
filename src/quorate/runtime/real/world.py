"""The real world: one for each process, made inside the running loop.

Use::

    async def main() -> None:
        world = real_world(Path("data"))
        try:
            ...
        finally:
            await close_world(world)

    run(main)
"""

import os
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, cast

from quorate.base.errors import QuorateError
from quorate.runtime.ports import Trace, World
from quorate.runtime.real.clock import RealClock
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.kernel_syncs import KernelSyncs
from quorate.runtime.real.loop import run, stop_on_failure
from quorate.runtime.real.network import RealNetwork
from quorate.runtime.real.processes import RealProcesses
from quorate.runtime.real.tls import TlsPaths, tls_contexts
from quorate.runtime.real.trace import RealTrace

__all__ = ["TlsPaths", "close_world", "end_process", "real_world", "run"]

BUG_STATUS = 70
"""Exit status after a bug of ours (EX_SOFTWARE of sysexits.h)."""


def end_process(error: BaseException) -> NoReturn:
    """End this process at once, because a task of it failed.

    A ``QuorateError`` ends it with its sentence and exit code; anything else is a bug: traceback
    and status 70.  No clean-up runs: what was not synced counts as lost, as after any crash, and a
    process whose invariants are broken must not touch its disk again.
    """
    if isinstance(error, QuorateError):
        print(f"quorate: {error}", file=sys.stderr)  # noqa: T201 - the last word of a process
        status = error.exit_code
    else:
        traceback.print_exception(error, file=sys.stderr)
        status = BUG_STATUS
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def real_world(
    root: Path,
    *,
    trace: Trace | None = None,
    tls: TlsPaths | None = None,
    stop: Callable[[BaseException], None] = end_process,
) -> World:
    """The ports of this process, inside a running loop.  ``root`` is its disk, made if missing.

    Raises ``BadConfiguration`` if the ``tls`` files do not fit, ``DiskFailed`` if ``root`` cannot
    be made.
    """
    trace = trace or RealTrace(sys.stderr)
    stop_on_failure(stop, trace)
    return World(
        clock=RealClock(),
        network=RealNetwork(tls_contexts(tls) if tls is not None else None),
        disk=RealDisk(root, KernelSyncs()),
        random=random.SystemRandom(),
        processes=RealProcesses(root),
        trace=trace,
        stop=stop,
    )


async def close_world(world: World) -> None:
    """Cancel what ``world`` still runs, drop its connections, kill its task processes, end its
    threads."""
    await world.cancel_all()
    await cast(RealNetwork, world.network).close()
    await cast(RealProcesses, world.processes).close()
    cast(RealDisk, world.disk).close()
