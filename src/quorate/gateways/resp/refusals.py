"""Errors of the store, in words that Redis clients understand."""

from quorate.base.errors import Maybe, QuorateError, Unavailable
from quorate.gateways.resp import encoder

FULL = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


def refused(code: str, message: str) -> bytes:
    """Of one operation, by the store."""
    if code == Unavailable.code:
        return refusal(Unavailable(message))
    return FULL if code == "store_full" else encoder.error(f"ERR {message}")


def refusal(error: QuorateError) -> bytes:
    """Of a whole command of ours; nothing of it was done."""
    if not isinstance(error, Unavailable):
        return refused(error.code, error.message)
    sure = "nothing was changed"
    told = error.message if sure in error.message else f"{sure}: {error.message}"
    return encoder.error(f"UNAVAILABLE {told}")


def surely(error: QuorateError) -> QuorateError:
    """The same where there was nothing to change."""
    return Unavailable(error.message) if isinstance(error, Maybe) else error
