"""Which line of a learner's code is behind an event: only what is known for certain.

* What the core does (sends, persists, applies) is done by the line that called its host.
* What happens to it has the method that was called; so have an answer, which is what the method
  returned, and whatever is another in the state afterwards.
* What it raised has the line that raised.

A line is noted as code and number while the run goes on; its text is read when a page is made.
"""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import CodeType
from typing import Any, NamedTuple

import quorate
from quorate.simulator.lab import host
from quorate.simulator.timeline.events import Source

_ROOT = Path(quorate.__file__).parent.parent


_BEGINS = re.compile(r"\s*(async\s+)?def\s")


class _Place(NamedTuple):
    code: CodeType
    line: int
    section: str


class Lines:
    """Those of one run of the core in ``file``; each has a name, which an ``Event.source`` is."""

    def __init__(self, file: Path) -> None:
        self._folder = file.parent
        self._places: dict[str, _Place] = {}
        self._names: dict[_Place, str] = {}

    def at(self, code: CodeType, line: int, section: str) -> str:
        """The name of that line, with the section of the paper that says why."""
        place = _Place(code, line, section)
        name = self._names.get(place)
        if name is None:
            name = self._names[place] = f"own {len(self._names) + 1}"
            self._places[name] = place
        return name

    def of(self, function: Callable[..., Any], section: str) -> str:
        """The name of where ``function`` begins; empty if it was not written in Python."""
        if isinstance(function, type):
            function = function.__init__  # type: ignore[misc]  # what a new object runs
        code = getattr(function, "__code__", None)
        return self.at(code, code.co_firstlineno, section) if code is not None else ""

    def calling_the_host(self, section: str) -> str:
        """The name of the line that has just called its host."""
        frame = sys._getframe()
        while frame.f_back is not None and frame.f_code.co_filename != host.__file__:
            frame = frame.f_back
        while frame.f_back is not None and frame.f_code.co_filename == host.__file__:
            frame = frame.f_back
        return self.at(frame.f_code, frame.f_lineno, section)

    def sources(self) -> dict[str, Source]:
        """What a page must hold of them all."""
        return {name: self._source(place) for name, place in self._places.items()}

    def _source(self, place: _Place) -> Source:
        code = place.code
        try:
            lines, first = inspect.getsourcelines(code)
        except (OSError, TypeError):  # there is no such file, or it is another by now
            lines, first = [], code.co_firstlineno
        text = dedent("".join(lines)).rstrip()
        line = place.line
        if line == first:  # the function itself, not what decorates it
            line += next((n for n, told in enumerate(lines) if _BEGINS.match(told)), 0)
        shown = self._shown(code.co_filename)
        return Source(shown, line, code.co_qualname, place.section, first, text)

    def _shown(self, filename: str) -> str:
        path = Path(filename)
        for folder in (_ROOT, self._folder):
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return filename
