"""A test node with a bug planted: it acknowledges changes before any log has them.

    python tests/lying_node.py SETTINGS

``quorate torture`` must catch it.  Appends take their usual way through the log, but nobody waits
for it: when their leader fails they may be gone.
"""

import asyncio
import sys
from collections.abc import Sequence

from quorate.base.codec import UNREADABLE, decode, outcome_of
from quorate.raft.group import Group
from quorate.raft.proposals import Answer
from quorate.raft.sessions import SessionCommand, WrappedCommand
from quorate.simulator.workloads.registers import Append
from quorate.torture.node import main

_HONEST = Group.submit_all


class _Unheard:
    """Nobody waits for this answer any more."""

    def resolve(self, value: list[bytes]) -> None:
        """It was given already."""

    def fail(self, error: object) -> None:
        """Who was told that it is done does not hear that it is not."""


def _lying(group: Group, commands: Sequence[bytes], answer: Answer) -> None:
    wrapped = [decode(command, WrappedCommand) for command in commands]
    if not all(isinstance(w, SessionCommand) and _is_append(w.body) for w in wrapped):
        _HONEST(group, commands, answer)
        return
    _HONEST(group, commands, _Unheard())
    done = [outcome_of(True)] * len(commands)
    asyncio.get_running_loop().call_soon(answer.resolve, done)


def _is_append(body: bytes) -> bool:
    try:
        decode(body, Append)
    except UNREADABLE:  # another command
        return False
    return True


if __name__ == "__main__":
    Group.submit_all = _lying  # type: ignore[method-assign]
    main(sys.argv[1])
