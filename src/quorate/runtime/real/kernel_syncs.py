"""Syncs that the kernel does beside us, without a thread of ours between (Linux' asynchronous I/O).

A thread needs the interpreter twice, to begin and to tell of the end, and has it only when the loop
is idle.  So what the loop did meanwhile, applying entries above all, did not run beside the sync
but before it: 160 µs of the 1.5 ms that a client waited who was alone with its write.  Here the
loop asks (``io_submit`` with ``IOCB_CMD_FDSYNC``, Linux 4.18) and hears of the end through a
descriptor.  Where there is no such kernel, or no room for more, threads do the same (disk.py).

To end a context holds up the whole process for some 30 ms: this is for disks that stay.
"""

import asyncio
import errno
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caio.linux_aio import Context, Operation

MOST = 64
"""Syncs under way."""
_REFUSALS = (OverflowError, SystemError, ValueError)
"""What ``caio`` makes of the kernel's EAGAIN and EINVAL, and of everything else."""


class KernelSyncs:
    """Of one loop: that of the first sync."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._operation: type[Operation]
        self._under_way = 0

    def start(self, descriptor: int) -> asyncio.Future[int] | None:
        """Begin ``fdatasync``: the future gives 0, or the number of the error.  ``None`` if it was
        not begun.  The file may be closed meanwhile; nothing takes a sync back."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._open(loop)
        if self._context is None or self._loop is not loop or self._under_way == MOST:
            return None
        done: asyncio.Future[int] = loop.create_future()

        def told(result: int) -> None:
            self._under_way -= 1
            if not done.done():
                # The kernel's number below zero comes as one of 64 bits without a sign.
                done.set_result(0 if result < 1 << 63 else (1 << 64) - result)

        operation = self._operation.fdsync(descriptor)
        operation.set_callback(told)
        try:
            if self._context.submit(operation) != 1:
                return None
        except _REFUSALS:
            return None
        self._under_way += 1
        return done

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        with suppress(ImportError, *_REFUSALS):
            from caio.linux_aio import Context, Operation

            context, self._operation = Context(max_requests=MOST), Operation
            loop.add_reader(context.fileno, _woken, context)
            self._context = context

    def close(self) -> None:
        """Wait for what is under way, as the threads' end does."""
        if self._context is None or self._loop is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._context.fileno)
        while self._under_way:
            _take_from(self._context, 1)
        self._context = None


def _woken(context: "Context") -> None:
    with suppress(BlockingIOError):  # taken with those before
        context.poll()
    _take_from(context, 0)


def _take_from(context: "Context", wait_s: int) -> None:
    """Have those told whose syncs are done; with ``wait_s``, wait so long for the first."""
    try:
        context.process_events(MOST, 1 if wait_s else 0, wait_s)
    except SystemError as error:
        if error.args[:1] != (errno.EINTR,):  # a signal came, and there was nothing to take
            raise
