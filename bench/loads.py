"""What the loads have in common: each is a process that begins on a word and tells what it took."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol


class Client(Protocol):
    """One connection of a load."""

    latencies_s: list[float]
    errors: int

    def close(self) -> None: ...


async def measured(clients: Sequence[Client], work: Callable[[], Awaitable[None]]) -> None:
    """Print ``ready``, begin at the first line of the standard input, print a line of JSON."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    await work()
    result = {"seconds": time.perf_counter() - began_s, "cpu_s": time.process_time() - cpu_s}
    latencies_s = sorted(latency for client in clients for latency in client.latencies_s)
    for percent in (50, 99):
        result[f"p{percent}_ms"] = latencies_s[len(latencies_s) * percent // 100] * 1000
    result["errors"] = sum(client.errors for client in clients)
    print(json.dumps(result), flush=True)
    for client in clients:
        client.close()
