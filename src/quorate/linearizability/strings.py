"""The states of a string that grows, as numbers: see models.py for what ``DARK`` is."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

DARK = 0
_MAX_SCANNED = 1 << 30
"""Characters that are looked through for appended strings; about a second."""


class Prefixes:
    """States of a string: the prefixes of what gets returned.  All others are ``DARK``.

    The returned strings are sorted, so those that begin with a prefix stand side by side, and a
    prefix is known by the first of them and its length.  To append is then to look for the new
    characters alone, however long the string has become.
    """

    def __init__(self, returned: Mapping[str, int]) -> None:
        self._returned = sorted(returned)
        self._lasts = [returned[value] for value in self._returned]
        self.last = [-1]
        """By state: the last position in ``returned`` of a string that begins with it."""
        self.last_whole = [-1]
        """By state: the position in ``returned`` of just this string."""
        self._by_position = sorted(((at, value) for value, at in returned.items()), reverse=True)
        self._end = self._by_position[0][0] if returned else -1
        self._scanned = 0
        self._last_with: dict[str, int] = {}
        self._ranges: list[tuple[int, int, int]] = [(0, 0, 0)]
        """By state: the first and the one after the last that begin with it, and its length."""
        self._numbers: dict[tuple[int, int], int] = {}
        self._extended: dict[tuple[int, str], int] = {}

    def number_of(self, value: str) -> int:
        """The state of the whole string ``value``."""
        return self._find(0, len(self._returned), 0, value)

    def last_with(self, value: str) -> int:
        """The last position in ``returned`` of a string that has ``value`` in it; simply the last
        of all when too much has been looked through."""
        if value not in self._last_with:
            self._last_with[value] = self._look_for(value)
        return self._last_with[value]

    def _look_for(self, value: str) -> int:
        for position, text in self._by_position:
            if self._scanned > _MAX_SCANNED:
                return self._end
            self._scanned += len(text)
            if value in text:
                return position
        return -1

    def extend(self, state: int, value: str) -> int:
        """The state after ``value`` was appended to ``state``."""
        if state == DARK:
            return DARK
        known = self._extended.get((state, value))
        if known is None:
            known = self._extended[state, value] = self._find(*self._ranges[state], value)
        return known

    def leads(self, state: int, target: int) -> bool:
        """Whether ``target`` begins with ``state``."""
        first, after, length = self._ranges[state]
        found, _, longer = self._ranges[target]
        return first <= found < after and length <= longer

    def _find(self, low: int, high: int, length: int, value: str) -> int:
        longer = length + len(value)

        def piece(returned: str) -> str:
            return returned[length:longer]

        first = bisect_left(self._returned, value, low, high, key=piece)
        after = bisect_right(self._returned, value, first, high, key=piece)
        if first == after:
            return DARK
        number = self._numbers.setdefault((first, longer), len(self._ranges))
        if number == len(self._ranges):
            self._ranges.append((first, after, longer))
            self.last.append(max(self._lasts[first:after]))
            whole = len(self._returned[first]) == longer
            self.last_whole.append(self._lasts[first] if whole else -1)
        return number
