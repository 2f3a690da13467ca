"""The main module of a task process: ``task_child PARENT_PID SOCKET_FD FUNCTION DIRECTORY``.

Reads a request, calls the function with a disk rooted at the directory, sends the reply, and so on
until the socket ends.  A ``QuorateError`` of the function is an answer; any other exception is the
end of this process, with the traceback in the log that is its standard error.
"""

import os
import socket
import sys
from pathlib import Path

from quorate.base.codec import encode
from quorate.base.errors import Overloaded, QuorateError
from quorate.runtime.functions import load_function
from quorate.runtime.ports import TaskFunction
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.parent_death import die_with_parent
from quorate.runtime.real.processes import ERROR, MAX_LOG_BYTES, MAX_MESSAGE_BYTES, REPLY

_OUTPUT = 1
"""The descriptor of standard output, whatever user code has made of ``sys.stdout``."""


def serve(channel: socket.socket, function: TaskFunction, disk: RealDisk) -> None:
    """Answer requests until the parent's end is gone."""
    _send(channel, REPLY, b"")
    while (header := _receive(channel, 4)) is not None:
        request = _receive(channel, int.from_bytes(header, "big"))
        if request is None:
            return
        try:
            reply = function(disk, bytes(memoryview(request)[1:]))
            if len(reply) > MAX_MESSAGE_BYTES:
                raise Overloaded(
                    f"a task's reply of {len(reply)} bytes exceeds {MAX_MESSAGE_BYTES}: "
                    "write large results to the disk"
                )
            kind = REPLY
        except QuorateError as error:
            reply, kind = encode(error.info()), ERROR
        _end_output()
        _send(channel, kind, reply)


def _end_output() -> None:
    """Let the log have what was printed; begin it anew when it is long."""
    sys.stdout.flush()
    if os.fstat(_OUTPUT).st_size > MAX_LOG_BYTES:
        os.ftruncate(_OUTPUT, 0)
        os.lseek(_OUTPUT, 0, os.SEEK_SET)


def _receive(channel: socket.socket, length: int) -> bytearray | None:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        try:
            received = channel.recv_into(view)
        except ConnectionError:
            return None
        if not received:
            return None
        view = view[received:]
    return data


def _send(channel: socket.socket, kind: bytes, body: bytes) -> None:
    try:
        channel.sendall((1 + len(body)).to_bytes(4, "big") + kind)
        channel.sendall(body)
    except ConnectionError:
        raise SystemExit(0) from None  # the parent's end is gone, and so is all reason to live


def main() -> None:
    parent_pid, descriptor, function, directory = sys.argv[1:]
    die_with_parent(int(parent_pid))
    channel = socket.socket(fileno=int(descriptor))
    # Programs that user code starts must not hold the socket open after this process.
    os.set_inheritable(channel.fileno(), False)
    serve(channel, load_function(function), RealDisk(Path(directory)))


if __name__ == "__main__":
    main()
