"""Every ``*.txt`` of ``quorate.simulator.scenarios`` prints what stands in it (see its
``interpreter.py``)."""

from difflib import unified_diff
from pathlib import Path

import pytest

from quorate.simulator import scenarios
from quorate.simulator.scenarios.interpreter import RULE, run

FILES = sorted(Path(scenarios.__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_story_goes_as_it_is_written(file: Path, request: pytest.FixtureRequest) -> None:
    written = file.read_text()
    printed = run(written)
    if request.config.getoption("--rewrite-scenarios"):
        file.write_text(printed)
        return
    if printed != written:
        difference = unified_diff(
            written.splitlines(), printed.splitlines(), file.name, "now", lineterm="", n=4
        )
        pytest.fail("\n".join(difference), pytrace=False)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_opens_with_its_story_and_stays_in_ascii(file: Path) -> None:
    text = file.read_text()
    assert text.startswith("# ") and text.isascii()
    assert text.count(f"\n{RULE}\n") >= 3


def test_a_different_outcome_is_noticed() -> None:
    story = "# One.\n\ncluster 1\ncampaign 1\n----\n       1  candidate     term 1  vote 1\n"
    assert run(story) != story
    assert run(run(story)) == run(story)


@pytest.mark.parametrize(
    ("story", "complaint"),
    [
        ("cluster 3\nelect 1\n----\n", "no such command: elect 1"),
        ("cluster 3\nstatus\nlog 1: 1x3\n----\n", "too late for: log 1: 1x3"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(story: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        run(story)
