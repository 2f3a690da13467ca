"""A run can be kept as JSON lines and read again."""

import pytest

from quorate.base.errors import BadInput
from quorate.simulator.timeline.events import Event, Head, Run, State, read_lines, write_lines

STATE = State(role="leader", term=3, voted_for="n1", last_index=2, terms=(1, 3))
RUN = Run(
    head=Head(title="a run", nodes=("n1", "n2"), groups=(1,)),
    events=[
        Event(time_ms=1.0, kind="sent", node="n1", peer="n2", group=1, arrow=1, term=3),
        Event(time_ms=2.5, kind="delivered", node="n2", peer="n1", group=1, arrow=1, term=3),
        Event(time_ms=3.0, kind="role", node="n1", group=1, state=STATE),
        Event(time_ms=4.0, kind="fault", lanes=("n1",), arrow=2, text="cut"),
    ],
)


def test_what_was_written_is_what_is_read() -> None:
    assert read_lines(write_lines(RUN).splitlines(), "here") == RUN


def test_events_of_several_writers_come_in_the_order_of_time() -> None:
    head, *events = write_lines(RUN).splitlines()
    assert read_lines([head, *reversed(events)], "here") == RUN


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "here is empty"),
        ([b'{"title": "a"}', b"{"], "here, line 2: this is no event of a run"),
        ([b'{"title": "a"}', b'{"time_ms": 1, "kind": "magic"}'], "here, line 2"),
        ([b"\xff"], "here, line 1"),
    ],
)
def test_what_is_no_run_is_refused_with_its_line(lines: list[bytes], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_lines(lines, "here")
