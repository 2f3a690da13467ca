"""What would surely be refused because the store is full: known before it is in the log.

Rules:
* Only who has all that was proposed may ask: what is on its way may make room.  So may an end that
  is due, or what is let go of: then nothing is foreseen.
* All commands are refused, or none: one that is done may make room for the next.
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
    Transacted,
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
        case Apply(operations) | Transact([], operations, [], whole=False):
            refusals = list[object]()
            for operation in operations:
                error = _full(state, _growth(state, operation))
                if error is None:
                    return None
                refusals.append(Refusal(error.code, error.message))
            if isinstance(command, Transact):
                return outcome_of(Transacted(True, state.revision, refusals))
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
            pairs = {key: value}
        case PutMany(several, When.ALWAYS):
            pairs = {key: value for key, value in several if isinstance(value, bytes)}
            if len(pairs) < len(several):
                return 0
        case Append(bytes(key), bytes(value)):
            before = state.get(key)
            pairs = {key: before.value + value if before is not None else value}
        case _:
            return 0
    if any(len(k) > MAX_KEY_BYTES or len(v) > MAX_VALUE_BYTES for k, v in pairs.items()):
        return 0
    return sum(state.growth(key, len(value)) for key, value in pairs.items())


def _full(state: State, growth: int) -> StoreFull | None:
    try:
        state.let_grow(growth)
    except StoreFull as error:
        return error
    return None
