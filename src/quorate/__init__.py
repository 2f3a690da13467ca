"""quorate makes a handful of ordinary machines behave like one that does not fail.

What a program needs is here, and loaded when it is used: ``connect``, ``local``, ``Transaction``,
and the errors that calls can raise.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quorate.base.errors import (
        AlreadyExists,
        BadInput,
        DeadlineExceeded,
        Fenced,
        Maybe,
        NotFound,
        QuorateError,
        Unavailable,
    )
    from quorate.kv.transaction import Transaction
    from quorate.library.connection import connect
    from quorate.library.local import local

__version__ = "0.1.0"
__all__ = [
    "AlreadyExists",
    "BadInput",
    "DeadlineExceeded",
    "Fenced",
    "Maybe",
    "NotFound",
    "QuorateError",
    "Transaction",
    "Unavailable",
    "__version__",
    "connect",
    "local",
]

_PLACES = {
    "connect": "quorate.library.connection",
    "local": "quorate.library.local",
    "Transaction": "quorate.kv.transaction",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'quorate' has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "quorate.base.errors")), name)
