"""How late the event loop of a process is: what would be served now waits for so long."""

from quorate.base.histogram import Histogram
from quorate.runtime.ports import Clock

PERIOD_MS = 1_000.0
"""Waking up costs some microseconds; this often, nobody sees them."""


async def watch_loop(clock: Clock, lag_ms: Histogram) -> None:
    """Count in ``lag_ms``, for ever."""
    while True:
        due_ms = clock.monotonic_ms() + PERIOD_MS
        await clock.sleep(PERIOD_MS)
        lag_ms.observe(max(0.0, clock.monotonic_ms() - due_ms))
