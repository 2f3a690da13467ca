"""The event loop of a real process: uvloop where it is installed, else asyncio's own.

A full collection of cyclic garbage stops the loop: 10 ms for what the imports alone have made, and
as much for each 100,000 objects more.  So what is there when the loop begins is set aside, and full
collections are rare.  The rest is the state machines' part: a large state is made of values that
the collector does not look at (base/frozen.py).
"""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from quorate.base.errors import QuorateError
from quorate.runtime.ports import Trace

T = TypeVar("T")

new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
try:
    import uvloop
except ImportError:  # optional: slower without it, otherwise the same
    pass
else:
    new_loop = uvloop.new_event_loop


GC_THRESHOLDS = (10_000, 10, 100)
"""A collection of the young for so many new objects that stay, of the middle-aged for so many of
those, a full one for so many of these: at most one in ten million objects."""


@contextmanager
def _short_collections() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` to its end on a new loop and return its result."""
    with _short_collections(), asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())


def stop_on_failure(stop: Callable[[BaseException], None], trace: Trace) -> None:
    """Make failures that asyncio would only log (an exception in a protocol callback or timer)
    stop the process, as those of tasks do.  What the world does to us (``OSError``) and errors of
    peers and users are a line in the trace."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or isinstance(error, QuorateError | OSError):
            trace.error(f"{context.get('message')}: {error}")
        else:
            stop(error)

    asyncio.get_running_loop().set_exception_handler(handle)
