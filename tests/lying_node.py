"""A test node with a bug planted: it acknowledges changes before any log has them.

    python tests/lying_node.py SETTINGS

``quorate torture`` must catch it.  Appends take their usual way through the log, but nobody waits
for it: when their leader fails they may be gone.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from quorate.base.codec import UNREADABLE, decode, outcome_of
from quorate.raft.group import Group
from quorate.raft.proposals import Answer
from quorate.raft.sessions import SessionCommand, WrappedCommand
from quorate.simulator.workloads.registers import Append
from quorate.torture.node import main


class _Unheard:
    """Nobody waits for this answer any more."""

    def resolve(self, value: list[bytes]) -> None:
        """It was given already."""

    def fail(self, error: object) -> None:
        """Who was told that it is done does not hear that it is not."""


def plant(reply_to: Callable[[bytes], Any]) -> None:
    """Answer at once what ``reply_to`` has an answer to; ``None``: it has none."""
    honest = Group.submit_all

    def lying(group: Group, commands: Sequence[bytes], answer: Answer) -> None:
        wrapped = [decode(command, WrappedCommand) for command in commands]
        replies = [reply_to(w.body) if isinstance(w, SessionCommand) else None for w in wrapped]
        if None in replies:
            honest(group, commands, answer)
            return
        honest(group, commands, _Unheard())
        done = [outcome_of(reply) for reply in replies]
        asyncio.get_running_loop().call_soon(answer.resolve, done)

    Group.submit_all = lying  # type: ignore[method-assign]


def _done(body: bytes) -> bool | None:
    try:
        decode(body, Append)
    except UNREADABLE:  # another command
        return None
    return True


if __name__ == "__main__":
    plant(_done)
    main(sys.argv[1])
