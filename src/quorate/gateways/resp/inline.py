"""Commands as people type them: words in a line, quoted as Redis has it.

In double quotes, backslash with n, r, t, a, b or x41 stands for a byte, and before anything else
for what follows it; in single quotes only before a single quote.  Behind a closing quote the word
ends.
"""

from quorate.gateways.resp.malformed import Malformed

_SPACES = frozenset(b" \t\n\r\x0b\x0c\0")
_ESCAPES = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x61: 0x07, 0x62: 0x08}
_DOUBLE, _SINGLE, _BACKSLASH, _X = b"\"'\\x"


def words(line: bytes) -> list[bytes]:
    """The words of ``line``; raises ``Malformed``."""
    if b'"' not in line and b"'" not in line:
        return line.replace(b"\0", b" ").split()
    found: list[bytes] = []
    at = 0
    while at < len(line):
        if line[at] in _SPACES:
            at += 1
            continue
        word = bytearray()
        while at < len(line) and line[at] not in _SPACES:
            if line[at] in (_DOUBLE, _SINGLE):
                at = _quoted(line, at, word)
                if at < len(line) and line[at] not in _SPACES:
                    raise Malformed("unbalanced quotes in request")
                break
            word.append(line[at])
            at += 1
        found.append(bytes(word))
    return found


def _quoted(line: bytes, start: int, word: bytearray) -> int:
    """Add to ``word`` what is in the quotes that open at ``start``; gives the place behind them."""
    quote, at = line[start], start + 1
    while at < len(line):
        byte = line[at]
        if byte == quote:
            return at + 1
        if byte == _BACKSLASH and at + 1 < len(line):
            following = line[at + 1]
            if quote == _SINGLE:
                if following == _SINGLE:
                    byte, at = following, at + 1
            elif following == _X and (digits := _hexadecimal(line[at + 2 : at + 4])) is not None:
                byte, at = digits, at + 3
            else:
                byte, at = _ESCAPES.get(following, following), at + 1
        word.append(byte)
        at += 1
    raise Malformed("unbalanced quotes in request")


def _hexadecimal(digits: bytes) -> int | None:
    if len(digits) == 2 and all(digit in b"0123456789abcdefABCDEF" for digit in digits):
        return int(digits, 16)
    return None
