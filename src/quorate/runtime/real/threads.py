"""A few threads for what waits in the kernel.

``concurrent.futures`` does the same, and makes a future with a lock of its own for each piece of
work: a third of what it costs to write to memory and wait for that, which a client that is alone
with its write pays on every node.
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias

Work: TypeAlias = Callable[[], object]


class Threads:
    """At most ``most``, begun as they are needed; whoever uses them does so from one thread."""

    def __init__(self, most: int) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._started = 0
        self._done = [0] * most
        """By each thread: nobody else changes its number."""

    def start(self, work: Work) -> None:
        """Have ``work`` done beside the caller; it must not raise."""
        number = len(self._threads)
        if self._started - sum(self._done) >= number < len(self._done):
            thread = Thread(target=self._run, args=(number,), name=f"sync-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._started += 1
        self._queue.put(work)

    def close(self) -> None:
        """Wait for what was started, and end the threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self, number: int) -> None:
        while (work := self._queue.get()) is not None:
            work()
            self._done[number] += 1
            del work  # or it would live until the next one comes
