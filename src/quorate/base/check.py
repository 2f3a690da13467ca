"""``check``: the assertion that stays on in production.

A failed check is a bug of ours, never an operating error.  ``Bug`` derives from
``BaseException`` so that no ``except Exception`` can swallow it; each world stops what runs when
it meets one (the real world ends the process, the simulated one fails the seed).
"""


class Bug(BaseException):
    """An invariant of our own does not hold.  The process must not go on."""


def check(condition: object, message: str) -> None:
    """Stop with ``Bug(message)`` unless ``condition`` is true."""
    if not condition:
        raise Bug(message)
