"""docs/RESP.md says what the table says."""

from pathlib import Path

from quorate.gateways.resp.commands.elsewhere import ELSEWHERE
from quorate.gateways.resp.commands.table import BY_SPELLING, ENTRIES

TEXT = (Path(__file__).resolve().parents[4] / "docs" / "RESP.md").read_text()


def test_the_document_has_every_command_and_no_other() -> None:
    rows = [line.split(" | ") for line in TEXT.splitlines() if line.count(" | `") == 1]
    told = {row[1].strip("`"): row[2].removesuffix(" |") for row in rows if row[1].isupper()}
    assert told == {entry.name.upper(): entry.summary for entry in ENTRIES.values()}


def test_the_document_names_what_is_not_there() -> None:
    assert [what for what in dict.fromkeys(ELSEWHERE.values()) if f"- {what}\n" not in TEXT] == []


def test_no_command_is_both_here_and_elsewhere() -> None:
    assert [name for name in ENTRIES if name in ELSEWHERE] == []
    assert len(BY_SPELLING) == 2 * len(ENTRIES)


def test_each_command_is_done_in_one_way() -> None:
    for entry in ENTRIES.values():
        ways = [entry.parse, entry.answer, entry.alone]
        assert sum(way is not None for way in ways) == 1, entry.name
        assert bool(entry.work) is (entry.parse is not None), entry.name
