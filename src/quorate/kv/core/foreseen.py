"""What would surely be refused because the store is full: known before it is in the log.

Rules:
* Only who has all that was proposed may ask: what is on its way may make room.  So may an end that
  is due, or what is let go of: then nothing is foreseen.
* All commands are refused, or none: one that is done may make room for the next.
* A transaction tells a revision, and that its conditions held: only the log can.
* Nothing is foreseen of an operation that might not grow, or be refused for another reason.  That
  is decided in the log, as always; this only spares a full disk what makes it fuller.
"""

from collections.abc import Sequence

from quorate.base.codec import outcome_of
from quorate.base.errors import QuorateError, StoreFull
from quorate.kv.core.commands import (
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    AnyOperation,
    Append,
    Apply,
    Limit,
    Put,
    PutMany,
    Refusal,
    Set,
    Stage,
    Transact,
    When,
)
from quorate.kv.core.state import State


def refused(
    state: State, commands: Sequence[Apply | Transact | Stage | Limit], time_ms: int
) -> list[bytes] | None:
    """The encoded outcomes of ``commands`` if all of them would be refused with ``StoreFull`` in an
    entry of log time ``time_ms``."""
    due_ms = state.next_deadline_ms()
    if due_ms is not None and due_ms <= time_ms:
        return None
    outcomes = list[bytes]()
    for command in commands:
        outcome = _refused(state, command)
        if outcome is None:
            return None
        outcomes.append(outcome)
    return outcomes


def _refused(state: State, command: Apply | Transact | Stage | Limit) -> bytes | None:
    match command:
        case Apply(operations) if operations:
            refusals = list[object]()
            for operation in operations:
                error = _full(state, _growth(state, operation))
                if error is None:
                    return None
                refusals.append(Refusal(error.code, error.message))
            return outcome_of(refusals)
        case Stage(upload, offset, data):
            try:
                error = _full(state, state.uploads.growth(upload, offset, len(data)))
            except QuorateError:
                return None
            return None if error is None else outcome_of(error)
    return None


def _growth(state: State, operation: AnyOperation) -> int:
    """In bytes, if it would be done; 0 where that cannot be said."""
    match operation:
        case Put(bytes(key), bytes(value)) | Set(
            bytes(key), bytes(value), at_ms=0, keep_ttl=False, when=When.ALWAYS
        ):
            sizes = {key: len(value)}
        case PutMany(several, When.ALWAYS):
            sizes = {key: len(value) for key, value in several if isinstance(value, bytes)}
            if len(sizes) < len(several):
                return 0
        case Append(bytes(key), bytes(value)):
            before = state.get(key)
            sizes = {key: len(value) + (len(before.value) if before is not None else 0)}
        case _:
            return 0
    if any(len(key) > MAX_KEY_BYTES or size > MAX_VALUE_BYTES for key, size in sizes.items()):
        return 0
    return sum(state.growth(key, size) for key, size in sizes.items())


def _full(state: State, growth: int) -> StoreFull | None:
    try:
        state.let_grow(growth)
    except StoreFull as error:
        return error
    return None
