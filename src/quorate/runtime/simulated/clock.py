"""The clocks of a simulated machine.

Virtual time is the one true time.  A machine's own clock starts at some offset, drifts at a rate,
and its wall clock can jump; the monotonic clock never runs backwards, whatever a nemesis does.
All processes of a machine share its clock.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from quorate.runtime.ports import Timer
from quorate.runtime.simulated.loop import SimulatedLoop
from quorate.runtime.simulated.process import SimulatedProcess

EPOCH_MS = 1_700_000_000_000
"""What a right wall clock shows when a simulation starts."""


class MachineClock:
    """What a nemesis turns: ``set_rate`` and ``jump_wall``."""

    def __init__(self, loop: SimulatedLoop, offset_ms: float = 0.0) -> None:
        self._loop = loop
        self._rate = 1.0
        self._since = loop.time()
        self._monotonic_ms = offset_ms
        self._wall_ahead_ms = EPOCH_MS - offset_ms

    @property
    def rate(self) -> float:
        """Local seconds per true second."""
        return self._rate

    def set_rate(self, rate: float) -> None:
        """Drift from now on (1.0 is right, 1.01 fast); timers already set keep their moment."""
        self._monotonic_ms = self.monotonic_ms()
        self._since = self._loop.time()
        self._rate = rate

    def jump_wall(self, by_ms: float) -> None:
        """Step the wall clock forwards or back; the monotonic clock does not notice."""
        self._wall_ahead_ms += by_ms

    def monotonic_ms(self) -> float:
        return self._monotonic_ms + (self._loop.now - self._since) * 1000.0 * self._rate

    def wall_ms(self) -> int:
        return int(self.monotonic_ms() + self._wall_ahead_ms)


class SimulatedClock:
    """The clock port of one process."""

    __slots__ = ("_loop", "_machine", "_process")

    def __init__(
        self, loop: SimulatedLoop, machine: MachineClock, process: SimulatedProcess
    ) -> None:
        self._loop = loop
        self._machine = machine
        self._process = process

    def monotonic_ms(self) -> float:
        self._process.require_alive()
        return self._machine.monotonic_ms()

    def wall_ms(self) -> int:
        self._process.require_alive()
        return self._machine.wall_ms()

    async def sleep(self, delay_ms: float) -> None:
        self._process.require_alive()
        await asyncio.sleep(delay_ms / (1000.0 * self._machine.rate))

    def call_later(self, delay_ms: float, callback: Callable[..., object], *args: Any) -> Timer:
        self._process.require_alive()
        delay = delay_ms / (1000.0 * self._machine.rate)
        return self._loop.call_later(delay, callback, *args, context=self._process.context)
