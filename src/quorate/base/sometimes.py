"""Marks on rare paths: "this happened at least sometimes", counted.

A test that never met a truncated conflict or a torn tail has said nothing about them.  Code marks
such a path with ``sometimes("conflict truncated")``; the simulator adds the marks of all its seeds
up, knows every mark that stands in the source, and lists those that no run has hit.
"""

_seen: dict[str, int] = {}


def sometimes(mark: str) -> None:
    """The path that is called ``mark`` was taken."""
    _seen[mark] = _seen.get(mark, 0) + 1


def seen() -> dict[str, int]:
    """How often each mark was passed in this process since ``forget``."""
    return dict(_seen)


def forget() -> None:
    """Begin to count anew."""
    _seen.clear()
