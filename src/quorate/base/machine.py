"""The state machine contract: everything that must survive is one of these behind a Raft group.

The namespace of files and the table of jobs are two; later the key/value map, the shard map, the
znode tree and the register of guests.  Learn one and you know six.

A state machine is a pure core: no clock, no randomness, no iteration over sets.  Time is log time,
``Meta.time_ms``, stamped into the entry by the leader and never running backwards, so that every
replica judges an expiry alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from quorate.base.codec import UNREADABLE, outcome_of, union_decoder
from quorate.base.errors import BadInput, QuorateError


class Meta(msgspec.Struct, frozen=True):
    """Where in the log a batch of commands stands."""

    index: int
    term: int
    time_ms: int
    """Log time: max(previous log time, the proposer's clock), milliseconds since 1970."""
    feature_level: int = 1
    """What all replicas of the group have agreed to understand."""


class StateMachine(Protocol):
    """What a Raft group drives.  All replies are encoded ``Outcome`` values (base/codec.py)."""

    def apply_batch(self, meta: Meta, commands: Sequence[bytes]) -> list[bytes]:
        """Apply the commands of one log entry, in order; one reply each.

        An empty batch is a tick: time has passed, deadlines are judged.  Every replica applies the
        same batches and must reach the same state and replies.  A command that is refused changes
        nothing.
        """

    def query(self, request: bytes) -> bytes:
        """Answer from the state as it is now, changing nothing."""

    def snapshot(self) -> Iterator[bytes]:
        """The state as pieces of bytes, frozen at this call in a time that does not depend on its
        size: a few ms at most (base/frozen.py).

        Batches applied while the iterator is being consumed do not show in it.  Each piece takes
        little time; what no longer has to be shown is let go, the rest when the iterator is closed.
        """

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        """Replace the state by that of a ``snapshot``; the pieces may be cut differently.

        Exhaust the iterator to be done; it pauses every ``RECORDS_PER_PAUSE`` records or so, so
        that a large state holds nobody up.  Until then the machine must be given nothing else to
        do.  Raises ``CorruptData``, and then the state is what it was.
        """

    def digest(self) -> int:
        """64 bits that are equal on two replicas if (and, but for chance, only if) their states
        are; kept up incrementally, so asking is cheap."""

    def next_deadline_ms(self) -> int | None:
        """The earliest log time at which a tick would change the state, or ``None``.

        It may be too early, never too late: the tick then sets it right.  What a tick leaves to do
        is due at once."""


RECORDS_PER_PAUSE = 100
"""What ``restore`` takes in between two pauses: a millisecond or so."""


def restore_all(machine: StateMachine, stream: Iterable[bytes]) -> None:
    """Restore in one go, where nobody waits meanwhile: tests and tools."""
    for _ in machine.restore(stream):
        pass


class TypedMachine(ABC):
    """The part that all our state machines share: bytes in, typed commands to methods, bytes out.

    A subclass names its ``commands`` and ``queries`` and implements ``execute`` and ``answer``,
    which return the reply's value or raise a ``QuorateError``, itself a reply.  ``execute`` must
    decide whether it refuses before it changes anything.
    """

    commands: tuple[type[Any], ...]
    queries: tuple[type[Any], ...]

    def __init__(self) -> None:
        self._commands = union_decoder(self.commands)
        self._queries = union_decoder(self.queries)

    @abstractmethod
    def execute(self, meta: Meta, command: Any) -> object:
        """Apply one command."""

    @abstractmethod
    def answer(self, query: Any) -> object:
        """Answer one query."""

    def expire(self, meta: Meta) -> None:  # noqa: B027 - not every machine has deadlines
        """Judge deadlines at log time ``meta.time_ms``; called before the commands of a batch."""

    def apply_batch(self, meta: Meta, commands: Sequence[bytes]) -> list[bytes]:
        self.expire(meta)
        replies = []
        decode, execute = self._commands.decode, self.execute
        for raw in commands:
            try:
                reply = outcome_of(execute(meta, decode(raw)))
            except QuorateError as error:
                reply = outcome_of(error)
            except UNREADABLE:
                # Refused by every replica alike, in words of our own (the reply is replicated
                # state): the feature level keeps commands that only some know out of the log.
                reply = outcome_of(BadInput("not a command of this state machine"))
            replies.append(reply)
        return replies

    def query(self, request: bytes) -> bytes:
        try:
            return outcome_of(self.answer(self._queries.decode(request)))
        except QuorateError as error:
            return outcome_of(error)
        except UNREADABLE as error:
            return outcome_of(BadInput(f"not a query of this state machine: {str(error)[:200]}"))
