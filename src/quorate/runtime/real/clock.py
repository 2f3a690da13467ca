"""The clocks of this machine."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from quorate.runtime.ports import Timer


class RealClock:
    """The clock port."""

    def monotonic_ms(self) -> float:
        return time.monotonic() * 1000.0

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, delay_ms: float) -> None:
        await asyncio.sleep(delay_ms / 1000.0)

    def call_later(self, delay_ms: float, callback: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(delay_ms / 1000.0, callback, *args)
