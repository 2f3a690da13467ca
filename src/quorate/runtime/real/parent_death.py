"""Children die with their parent, whatever kills it.

The kernel sends SIGKILL to a child when the thread that started it ends (``PR_SET_PDEATHSIG``), so
children are started from the main thread.  The pipe or socket to the parent that ends is the
second sign, for children that read it.
"""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Called first thing in a child: from now on it is killed when ``parent_pid`` ends.

    ``parent_pid`` comes from the parent itself, because a parent that died before this call has
    already been replaced by another (process 1, or a subreaper).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent_pid:
        os._exit(1)
