"""The trace of a real process: one line per event, to a stream.

``2026-01-31T12:00:00.123 event raft election won term=3``.  Errors are always written; events
only when the trace was made with ``events=True``, because they cost a write each.  Lines are
bounded and hold no line ends, whatever the facts are.
"""

import time
from typing import TextIO

_LINE_CHARACTERS = 4_000


class RealTrace:
    """The trace port."""

    def __init__(self, stream: TextIO, name: str = "quorate", *, events: bool = False) -> None:
        self._stream = stream
        self._name = name
        self._events = events

    def event(self, name: str, **facts: object) -> None:
        if self._events:
            words = [name, *(f"{key}={_shown(value)}" for key, value in facts.items())]
            self._write("event", " ".join(words))

    def error(self, sentence: str) -> None:
        self._write("error", sentence)

    def _write(self, level: str, text: str) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
        line = f"{stamp}.{int(now * 1000) % 1000:03d} {level} {self._name} {text}"
        line = line.replace("\n", "\\n").replace("\r", "\\r")[:_LINE_CHARACTERS]
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # a full disk or closed stream under the log must not stop what it describes


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)


class QuietTrace:
    """That of commands and libraries, whose users read sentences, not events."""

    def event(self, name: str, **facts: object) -> None:
        """Not shown."""

    def error(self, sentence: str) -> None:
        """Not shown: what matters of it reaches the user as the call's own error."""
