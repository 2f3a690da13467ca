"""Each event of a timeline leads to a line that is there, and to a section of the paper."""

from pathlib import Path
from typing import get_args

import pytest

import quorate
from quorate.base.check import Bug
from quorate.raft.core.events import Event
from quorate.raft.core.messages import Message
from quorate.raft.core.replica import Role
from quorate.simulator.nemeses.faults import AnyFault
from quorate.simulator.timeline import sources
from quorate.simulator.timeline.sources import PLACES, Place, find

ROOT = Path(quorate.__file__).parent.parent


def names(kinds: object) -> list[str]:
    return [kind.__name__ for kind in get_args(kinds)]


@pytest.mark.parametrize("name", PLACES)
def test_each_place_is_in_the_code(name: str) -> None:
    found = find(name)
    line = (ROOT / found.file).read_text().splitlines()[found.line - 1]
    assert PLACES[name].line in line
    assert line.strip() in found.text
    assert found.section


def test_every_message_event_role_and_fault_has_a_place() -> None:
    messages = [*names(Message), "PreVoteRequest", "PreVoteReply"]
    wanted = [f"{way} {name}" for name in messages for way in ("sent", "received")]
    wanted += [name for name in names(Event) if name != "Receive"]
    wanted += [role.name for role in Role]
    wanted += [f"fault {name}" for name in names(AnyFault)]
    assert [name for name in wanted if name not in PLACES] == []


@pytest.mark.parametrize(
    "place",
    [
        Place("quorate.raft.core.election", "no_such_function", "§5"),
        Place("quorate.raft.core.election", "campaign", "§5", "no such line"),
        Place("quorate.raft.core.election", "campaign", "§5", "replica"),
    ],
)
def test_a_place_that_is_gone_or_not_one_line_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sources.PLACES, "wrong", place)
    find.cache_clear()
    with pytest.raises(Bug):
        find("wrong")
