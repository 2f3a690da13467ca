"""Patterns for paths: ``*``, ``?`` and ``[…]`` within a name, ``**`` for any number of folders.

A leading dot is not special.  What comes before the first wild card is not searched, and a folder
is listed only if the pattern reaches into it; below ``**`` everything is.
"""

import re
from collections.abc import Sequence
from fnmatch import translate

WILD = re.compile(r"[*?\[]")


def literal_prefix(parts: Sequence[str]) -> int:
    """How many leading names have no wild card."""
    for position, name in enumerate(parts):
        if WILD.search(name):
            return position
    return len(parts)


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the names ``parts`` fit all of ``pattern``."""
    positions = {0}  # of the pattern, each reached by the names so far
    for name in parts:
        reached = _through_folders(positions, pattern)
        positions = {
            at if pattern[at] == "**" else at + 1
            for at in reached
            if at < len(pattern) and (pattern[at] == "**" or name_matches(name, pattern[at]))
        }
    return len(pattern) in _through_folders(positions, pattern)


def _through_folders(positions: set[int], pattern: Sequence[str]) -> set[int]:
    """``**`` may also stand for no folder at all."""
    reached = set(positions)
    for at, name in enumerate(pattern):
        if at in reached and name == "**":
            reached.add(at + 1)
    return reached


def name_matches(name: str, pattern: str) -> bool:
    return re.match(translate(pattern), name) is not None
