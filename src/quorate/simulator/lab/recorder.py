"""What happened in one run of a learner's core, in order: the stuff of a timeline.

An event says when, where, what kind, and in words what; after each, what every server believes.
"""

from dataclasses import dataclass

MAX_EVENTS = 200_000
"""Kept of one run; beyond it the older half is let go."""


@dataclass(frozen=True, slots=True)
class ServerView:
    """What a server shows at a moment."""

    up: bool
    connected: bool
    leads: bool
    term: int


@dataclass(frozen=True, slots=True)
class LabEvent:
    """One thing that happened."""

    at_ms: float
    kind: str
    """``request``, ``answer``: sent; ``got request``, ``got answer``: received; ``lost``,
    ``timer``, ``start``, ``persist``, ``apply``, ``snapshot``, ``install``, ``state``,
    ``crash``, ``begin``, ``fault``, ``broken``."""
    server: int | None
    """Where; ``None``: everywhere."""
    other: int | None
    """The other end of a message."""
    text: str
    servers: tuple[ServerView, ...]


class Recorder:
    """The events of one run."""

    def __init__(self, servers: int) -> None:
        self.events: list[LabEvent] = []
        self._views = [ServerView(False, True, False, 0)] * servers

    def add(
        self, at_ms: float, kind: str, server: int | None, text: str, other: int | None = None
    ) -> None:
        self.events.append(LabEvent(at_ms, kind, server, other, text, tuple(self._views)))
        if len(self.events) > MAX_EVENTS:
            del self.events[: MAX_EVENTS // 2]

    def view(self, server: int) -> ServerView:
        return self._views[server]

    def show(self, server: int, view: ServerView) -> None:
        """From the next event on ``server`` looks like this."""
        self._views[server] = view
