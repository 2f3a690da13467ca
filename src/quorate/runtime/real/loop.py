"""The event loop of a real process: uvloop where it is installed, else asyncio's own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from quorate.base.errors import QuorateError
from quorate.runtime.ports import Trace

T = TypeVar("T")

try:
    from uvloop import new_event_loop
except ImportError:  # optional: a third slower, otherwise the same
    new_event_loop = asyncio.new_event_loop


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` to its end on a new loop and return its result."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
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
