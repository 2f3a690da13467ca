"""The event loop of a real process: uvloop where it is installed, else asyncio's own."""

import asyncio
from collections.abc import Callable, Coroutine
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


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` to its end on a new loop and return its result."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
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
