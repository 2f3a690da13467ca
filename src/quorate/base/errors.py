"""Errors that a user or a peer can meet.

Each says what happened, where, and what to do, in one sentence.  They cross the network as
``ErrorInfo`` and are raised on the other side as the same class.  ``exit_code`` is what the
command line ends with (docs/COMMANDS.md, "Exit codes").

Three kinds of failure, three mechanisms: our own bug is a failed ``check`` (base/check.py), a peer
that misbehaves is a ``ProtocolError`` and loses its connection, the world that fails is an event
or one of the errors below.
"""

from typing import ClassVar

import msgspec

_BY_CODE: dict[str, type["QuorateError"]] = {}


class ErrorInfo(msgspec.Struct, array_like=True, frozen=True):
    """An error as it travels: class code, sentence, and small facts for the program."""

    code: str
    message: str
    details: dict[str, str | int] = {}


class QuorateError(Exception):
    """Base of all errors that a user can meet."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _BY_CODE[cls.code] = cls

    def __init__(self, message: str, /, **details: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def info(self) -> ErrorInfo:
        return ErrorInfo(self.code, self.message, self.details)


def error_from(info: ErrorInfo) -> QuorateError:
    """The exception that ``info`` describes; an unknown code becomes a plain ``QuorateError``."""
    return _BY_CODE.get(info.code, QuorateError)(info.message, **info.details)


class BadInput(QuorateError):
    """What the user gave cannot be used: an option, a path, a job file."""

    code = "bad_input"
    exit_code = 2


class TooLarge(BadInput):
    """What was asked for, or sent, does not fit one frame of its connection."""

    code = "too_large"


class BadConfiguration(QuorateError):
    """The configuration, data directory or certificate does not fit."""

    code = "bad_configuration"
    exit_code = 3


class NotFound(QuorateError):
    code = "not_found"
    exit_code = 4


class AlreadyExists(QuorateError):
    code = "already_exists"
    exit_code = 5


class Unavailable(QuorateError):
    """Nobody who could answer is reachable, and nothing was changed."""

    code = "unavailable"
    exit_code = 6


class DeadlineExceeded(Unavailable):
    """The deadline of a call passed before its answer came."""

    code = "deadline_exceeded"


class Overloaded(Unavailable):
    """A bound was reached (queue, inflight, size); nothing was changed."""

    code = "overloaded"


class NotLeader(Unavailable):
    """A redirect: this replica does not lead.  ``details["leader"]`` may hold the address of who
    does, ``details["members"]`` those of all members, with spaces between."""

    code = "not_leader"


class Maybe(QuorateError):
    """The outcome cannot be known: the operation took place once, or not at all."""

    code = "maybe"
    exit_code = 7


class AnswerHeld(Maybe):
    """It was applied; the answer is too large for a frame and is kept for a while.
    ``details["number"]`` is what to ask for, ``details["length"]`` its bytes."""

    code = "answer_held"


class SessionExpired(Maybe):
    """The client session is gone, and with it the knowledge of what it already did."""

    code = "session_expired"


class Fenced(QuorateError):
    """A newer holder has taken over; what comes with the older token is refused."""

    code = "fenced"
    exit_code = 8


class JobFailed(QuorateError):
    """A job ended without output; the message holds the task's traceback and record."""

    code = "job_failed"
    exit_code = 9


class CorruptData(QuorateError):
    """A checksum does not fit: bytes on a disk or wire are not what was written."""

    code = "corrupt_data"
    exit_code = 10


class ReplicaDamaged(CorruptData):
    """What a replica promised, or has become, is not on its own disk any more.

    It takes no part as long as that is so; node/rebuilding.py has it rebuilt from its peers.
    """

    code = "replica_damaged"
    ADVICE: ClassVar[str] = (
        "the replicas here take no part until they have been rebuilt from the others, which this"
        " node sees to by itself as soon as those can decide without it"
    )


class DiskFull(QuorateError):
    """No space is left for a write."""

    code = "disk_full"
    exit_code = 11


class DiskFailed(QuorateError):
    """A write or fsync failed; it is never retried (the page may be gone: "fsyncgate")."""

    code = "disk_failed"
    exit_code = 12


class StoreFull(QuorateError):
    """The key/value store is at its bound, and what was asked would make it grow; nothing was
    changed.  Reads, deletes and changes that do not grow go on."""

    code = "store_full"
    exit_code = 15


class ProtocolError(QuorateError):
    """A peer sent what the protocol does not allow; its connection is closed."""

    code = "protocol_error"
    exit_code = 13


class NotJudged(QuorateError):
    """``quorate check``, ``torture`` or ``doctor`` has no verdict: options or machine do not do.

    A code of its own, since 0, 1 and 2 are verdicts there.
    """

    code = "not_judged"
    exit_code = 14
