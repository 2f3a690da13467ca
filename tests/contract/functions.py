"""What the task processes of these tests serve."""

import os
import signal

from quorate.base.errors import BadInput
from quorate.runtime.ports import Disk


def serve(disk: Disk, request: bytes) -> bytes:
    """A small language: what the request says, it does."""
    verb, _, rest = request.partition(b" ")
    if verb == b"echo":
        print("user code prints", rest)  # noqa: T201
        return rest
    if verb == b"write":
        disk.open("written", create=True).write(0, rest)
        return b""
    if verb == b"size":
        return b"%d" % disk.open(rest.decode()).size()
    if verb == b"refuse":
        raise BadInput(rest.decode(), line=7)
    if verb == b"big":
        return b"x" * int(rest)
    if verb == b"suicide":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == b"hang":
        signal.pause()
    raise ZeroDivisionError(rest.decode())
