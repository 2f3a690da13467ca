"""Values that are numbers, as text: 64-bit integers and decimal fractions.

The same digits on every replica and platform: no binary floating point.  What is refused, and in
which words, is as Redis has it.
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

from quorate.base.errors import BadInput

SMALLEST, LARGEST = -(1 << 63), (1 << 63) - 1
_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_CONTEXT = Context(prec=80, rounding=ROUND_HALF_EVEN)
_STEP = Decimal("1e-17")
_LIMIT = Decimal("1e40")
_MAX_DIGITS = 60


def integer(text: bytes) -> int:
    """The 64-bit integer that ``text`` is, digit for digit."""
    if _INTEGER.fullmatch(text):
        number = int(text)
        if SMALLEST <= number <= LARGEST:
            return number
    raise BadInput("value is not an integer or out of range")


def added(text: bytes, by: int) -> int:
    """The sum, within 64 bits."""
    total = integer(text) + by
    if not SMALLEST <= total <= LARGEST:
        raise BadInput("increment or decrement would overflow")
    return total


def decimal(text: bytes) -> Decimal:
    """The fraction that ``text`` is."""
    if len(text) > _MAX_DIGITS or not _DECIMAL.fullmatch(text):
        raise BadInput("value is not a valid float")
    return Decimal(text.decode())


def added_decimal(text: bytes, by: bytes) -> bytes:
    """The sum, to 17 digits behind the point, without zeros that say nothing."""
    total = _CONTEXT.add(decimal(text), decimal(by))
    if abs(total) >= _LIMIT:
        raise BadInput("increment would produce NaN or Infinity")
    digits = f"{_CONTEXT.quantize(total, _STEP):f}"
    digits = digits.rstrip("0").rstrip(".")
    return b"0" if digits in ("-0", "") else digits.encode()
