"""From bytes to commands: RESP arrays of bulk strings, and lines that people type.

Rules:
* Nothing is believed before it is there: a header takes no memory, whatever number stands in it.
* What does not fit a bound of ours, but one of Redis', is read past without being kept, and its
  command is refused in its turn: the connection goes on.  What is no RESP at all, or breaks Redis'
  own bounds, ends the connection with Redis' words, behind the commands that came before it.
* ``take`` gives commands that are small together, or one large one alone.

How it is fast.  ``split`` finds all line ends of a buffer at once, in C.  A command is well formed
if each length that it announces is that of the line that follows: then no line end can be inside a
value.  Many commands of one shape, as pipelines have them, are checked column by column.  What is
not so, values with line ends above all, goes byte by byte (``_slowly``).

``hiredis.Reader`` takes 0.2 to 0.4 µs a command less; but it makes a list as long as a header says
(``*4000000000``), nests, and does not tell where it stands, so its input would have to be looked at
before it sees it.  That look, a search for each sort of header, costs what would be gained.
"""

from collections.abc import Sequence
from typing import TypeAlias

from quorate.gateways.resp.inline import words
from quorate.gateways.resp.malformed import Malformed

Args: TypeAlias = Sequence[bytes]
"""A command's name and arguments; at least the name."""

TAKE_BYTES = 64 << 10
"""Of commands that are given together."""
MAX_ARGUMENTS = 1024 * 1024
"""In one command; Redis' bound."""
MAX_BULK_BYTES = 512 << 20
"""Redis' bound (``proto-max-bulk-len``)."""
MAX_KEPT_BULK_BYTES = 8 << 20
"""Of one argument; a larger one is read past."""
MAX_KEPT_BYTES = 32 << 20
"""Of one command; the same."""
MAX_UNKNOWN_ARGUMENTS = 10
MAX_UNKNOWN_BULK_BYTES = 16 << 10
"""Before AUTH, where a password is set."""
MAX_LINE_BYTES = 64 << 10
"""Of an inline command, or a header."""
ARGUMENT_BYTES = 64
"""What an argument takes in memory beside its bytes, about."""

_LENGTHS = [b"$%d" % length for length in range(4097)]
_COUNTS = {b"*%d" % count: count for count in range(1, 65)}
_COLUMNS_FROM_LINES = 16
_MAX_DIGITS = 20
_ARRAY, _BULK = b"*$"


TOO_LARGE = b"\0too large"
"""The name that a command has of which something was read past."""


class Parser:
    """Of one connection."""

    __slots__ = (
        "_args",
        "_buffer",
        "_is_past_bounds",
        "_kept",
        "_left",
        "_needed",
        "_skip",
        "_wire",
        "error",
        "is_known",
        "size",
    )

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        """What was not taken yet; a ``bytearray`` if it is large."""
        self._needed = 0
        """So many bytes must be in the buffer before it is worth a look."""
        self._args: list[bytes] = []
        """Of a command of which a part is there."""
        self._left = 0
        """Arguments that this command still lacks."""
        self._kept = self._wire = 0
        """What this command takes in memory, and took on the wire."""
        self._skip = 0
        """Bytes of an argument that is read past, its line end included."""
        self._is_past_bounds = False
        """This command will be refused."""
        self.is_known = True
        """Without, the narrow bounds hold that Redis has for clients before AUTH."""
        self.error = ""
        """What was malformed; nothing comes behind it."""
        self.size = 0
        """What the commands of the last ``take`` took on the wire."""

    def held_bytes(self) -> int:
        """What this parser takes, about."""
        return len(self._buffer) + self._kept

    def feed(self, data: bytes) -> None:
        """What came in."""
        buffer = self._buffer
        if not buffer:
            self._buffer = data
        elif isinstance(buffer, bytearray):
            buffer += data
        elif len(buffer) + len(data) > TAKE_BYTES:
            self._buffer = bytearray(buffer)
            self._buffer += data
        else:
            self._buffer = buffer + data

    def take(self, limit: int) -> list[Args]:
        """The next commands, ``limit`` at most; none if there is no whole one, or ``error``."""
        buffer = self._buffer
        commands: list[Args] = []
        self.size = 0
        if not buffer or len(buffer) < self._needed or self.error:
            return commands
        self._needed = position = 0
        try:
            if self._left:
                position = self._slowly(buffer, 0, 1, commands)
            if not self._left and len(commands) < limit and self.size < TAKE_BYTES:
                data = bytes(buffer[position : position + TAKE_BYTES])
                if data.startswith(b"*"):
                    used = self._quickly(data, limit, commands)
                    position += used
                    self.size += used
                if position < len(buffer):
                    position = self._slowly(buffer, position, limit, commands)
        except Malformed as error:
            self.error = str(error)
            self._args, self._left, self._kept, position = [], 0, 0, len(buffer)
        if position >= len(buffer):
            self._buffer = b""
        else:
            self._drop(position)
        return commands

    def _drop(self, count: int) -> None:
        buffer = self._buffer
        if isinstance(buffer, bytearray):
            del buffer[:count]
        elif count:
            self._buffer = buffer[count:]

    # Quickly.

    def _quickly(self, data: bytes, limit: int, commands: list[Args]) -> int:
        """Well-formed commands from the beginning of ``data`` on; up to where that is."""
        lines = data.split(b"\r\n")
        last, at = len(lines) - 1, 0
        try:
            if last >= _COLUMNS_FROM_LINES and self._columns(lines, limit, commands):
                return len(data)
            while at < last and len(commands) < limit:
                count = _COUNTS.get(lines[at])
                if count is None or (count > MAX_UNKNOWN_ARGUMENTS and not self.is_known):
                    break
                stop = at + 1 + 2 * count
                if stop > last:
                    break
                args = lines[at + 2 : stop : 2]
                if lines[at + 1 : stop : 2] != [_LENGTHS[len(argument)] for argument in args]:
                    break
                commands.append(args)
                at = stop
        except IndexError:  # an argument beyond the table of lengths
            pass
        if at == last and not lines[at]:
            return len(data)
        return sum(map(len, lines[:at])) + 2 * at

    def _columns(self, lines: list[bytes], limit: int, commands: list[Args]) -> bool:
        """Whether all lines are commands of one shape; they are taken then."""
        first = lines[0]
        stride = 1 + 2 * _COUNTS.get(first, 0)
        rows, rest = divmod(len(lines) - 1, stride)
        if stride == 1 or rest or lines[-1] or rows > limit or not self.is_known:
            return False
        if lines[:-1:stride].count(first) != rows:
            return False
        columns = []
        for at in range(1, stride, 2):
            column = lines[at + 1 : -1 : stride]
            if lines[at:-1:stride] != [_LENGTHS[length] for length in map(len, column)]:
                return False
            columns.append(column)
        commands += zip(*columns, strict=True)
        return True

    # Byte by byte.

    def _slowly(
        self, data: bytes | bytearray, position: int, limit: int, commands: list[Args]
    ) -> int:
        """Go on at ``position``; up to where all is used up."""
        while position < len(data):
            if self._left:
                end = self._argument(data, position, bool(commands))
            elif len(commands) >= limit or self.size >= TAKE_BYTES:
                break
            elif data[position] == _ARRAY:
                end = self._header(data, position)
            else:
                end = self._inline(data, position)
            if end < 0:
                break
            self._wire += end - position
            position = end
            if not self._left:
                if self._args:
                    commands.append([TOO_LARGE] if self._is_past_bounds else self._args)
                self.size += 0 if self._is_past_bounds else self._wire
                self._args, self._kept, self._wire, self._is_past_bounds = [], 0, 0, False
        return position

    def _header(self, data: bytes | bytearray, position: int) -> int:
        """``*3``: where it ends, or -1 if that is not there yet."""
        end = _line_end(data, position, "too big mbulk count string")
        if end < 0:
            return -1
        count = _number(data[position + 1 : end])
        if count is None or count > MAX_ARGUMENTS:
            raise Malformed("invalid multibulk length")
        if count > MAX_UNKNOWN_ARGUMENTS and not self.is_known:
            raise Malformed("unauthenticated multibulk length")
        self._left = max(count, 0)
        return end + 2

    def _argument(self, data: bytes | bytearray, position: int, is_behind: bool) -> int:
        """``$5`` and a line of five bytes: where it ends, or -1 if that is not there yet, or is for
        a ``take`` of its own."""
        if self._skip:
            skipped = min(self._skip, len(data) - position)
            self._skip -= skipped
            self._left -= not self._skip
            return position + skipped
        end = _line_end(data, position, "too big bulk count string")
        if end < 0:
            return -1
        if data[position] != _BULK:
            found = chr(data[position]) if 0x20 <= data[position] < 0x7F else "?"
            raise Malformed(f"expected '$', got '{found}'")
        length = _number(data[position + 1 : end])
        if length is None or not 0 <= length <= MAX_BULK_BYTES:
            raise Malformed("invalid bulk length")
        if length > MAX_UNKNOWN_BULK_BYTES and not self.is_known:
            raise Malformed("unauthenticated bulk length")
        start = end + 2
        if length > MAX_KEPT_BULK_BYTES or self._kept + length > MAX_KEPT_BYTES:
            self._skip, self._is_past_bounds = length + 2, True
            self._args, self._kept = [TOO_LARGE], 0
            return start
        if is_behind and self._wire + length > TAKE_BYTES:
            return -1
        stop = start + length
        if len(data) < stop + 2:
            self._needed = stop + 2 - position
            return -1
        if data[stop] != 0x0D or data[stop + 1] != 0x0A:
            raise Malformed("expected a line end behind a bulk string")
        if not self._is_past_bounds:
            self._args.append(bytes(data[start:stop]))
            self._kept += length + ARGUMENT_BYTES
        self._left -= 1
        return stop + 2

    def _inline(self, data: bytes | bytearray, position: int) -> int:
        """A line of words: where it ends, or -1 if that is not there yet."""
        end = data.find(b"\n", position, position + MAX_LINE_BYTES)
        if end < 0:
            if len(data) - position >= MAX_LINE_BYTES:
                raise Malformed("too big inline request")
            return -1
        self._args = words(bytes(data[position:end]))
        return end + 1


def _line_end(data: bytes | bytearray, position: int, problem: str) -> int:
    end = data.find(b"\r\n", position, position + MAX_LINE_BYTES)
    if end < 0 and len(data) - position >= MAX_LINE_BYTES:
        raise Malformed(problem)
    return end


def _number(text: bytes | bytearray) -> int | None:
    """Of decimal digits, as few as there can be."""
    if len(text) > _MAX_DIGITS or not text.lstrip(b"-").isdigit():
        return None
    try:
        number = int(text)
    except ValueError:
        return None
    return number if b"%d" % number == text else None
