"""Bring your own Raft: right cores pass, wrong ones are caught, broken files get a sentence."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quorate.base.errors import BadInput
from quorate.cli.main import app
from quorate.simulator.lab import guard
from quorate.simulator.lab.command import SKELETON, TESTS, lab_tests, run_tests, write_skeleton
from quorate.simulator.lab.cores import simple
from quorate.simulator.lab.learner_lab import run_core
from quorate.simulator.lab.loading import load_core

NOT_HERE = {
    "simple": ("churn",),  # the unreliable one is as good, and quicker
    "reference": ("churn", "figure_8_unreliable"),  # test_course.py has these around that core
}
HEAD = "from quorate.simulator.lab.cores import simple\n\nclass Raft(simple.Raft):\n"


@pytest.mark.parametrize(
    ("core", "name"),
    [(core, name) for core, others in NOT_HERE.items() for name in TESTS if name not in others],
)
def test_a_right_core_passes_the_lab_tests(core: str, name: str) -> None:
    run = run_core(TESTS[name], load_core(core), seed=1)
    assert run.broken is None, run.broken


@pytest.mark.parametrize(
    ("core", "name", "seed", "promise"),
    [
        ("commits_old_terms", "figure_8_by_steps", 1, "State Machine Safety"),
        ("forgets_its_vote", "swarm_of_votes", 4, "Election Safety"),
        ("truncates_on_every_append", "swarm_of_3", 1, "State Machine Safety"),
    ],
)
def test_a_wrong_core_is_caught_by_the_promise_that_it_breaks(
    core: str, name: str, seed: int, promise: str
) -> None:
    failure = run_tests(load_core(core), [TESTS[name]], None, seed, lambda outcome: None)
    assert failure is not None
    assert failure.broken.startswith(promise)
    assert failure.repeats
    assert failure.replay == f"quorate lab raft --core {core} --test {name} --seed {seed}"
    assert failure.timeline.events[-1].kind == "broken"


def failure_of(tmp_path: Path, text: str, test: str = "initial_election") -> str:
    file = tmp_path / "my_raft.py"
    file.write_text(text)
    failure = run_tests(load_core(str(file)), [TESTS[test]], 1, None, lambda outcome: None)
    assert failure is not None
    return failure.broken


def test_a_core_in_a_file_of_its_own_passes(tmp_path: Path) -> None:
    file = tmp_path / "my_raft.py"
    file.write_text(Path(simple.__file__).read_text())
    tests = lab_tests("2A")
    assert run_tests(load_core(str(file)), tests, 1, None, lambda outcome: None) is None


def test_a_wrong_argument_is_told_with_file_and_line(tmp_path: Path) -> None:
    told = failure_of(tmp_path, HEAD + "    def persist(self):\n        self.host.persist('x')\n")
    assert told.startswith("my_raft.py:5: on_timer() on n") and "persist() takes bytes" in told


def test_an_exception_is_told_with_file_and_line(tmp_path: Path) -> None:
    told = failure_of(tmp_path, HEAD + "    def on_timer(self, name):\n        self.nothing\n")
    assert told.startswith("my_raft.py:5: on_timer() on n")
    assert "AttributeError" in told


def test_an_endless_loop_is_told_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CALL_SECONDS", 0.2)
    told = failure_of(tmp_path, HEAD + "    def on_timer(self, name):\n        while True: pass\n")
    assert told.startswith("my_raft.py:5: on_timer() on n")
    assert "endless loop" in told


def test_timers_that_never_let_time_pass_are_told(tmp_path: Path) -> None:
    body = "    def on_timer(self, name):\n        self.host.set_timer(name, 0)\n"
    assert "calls in one virtual second" in failure_of(tmp_path, HEAD + body)


def test_the_real_clock_is_refused(tmp_path: Path) -> None:
    body = "    def on_timer(self, name):\n        import time; time.time()\n"
    told = failure_of(tmp_path, HEAD + body)
    assert told.startswith("my_raft.py:5: time.time") and "host.now_ms()" in told


def test_what_the_core_catches_is_broken_all_the_same(tmp_path: Path) -> None:
    body = (
        "    def commit_to(self, index):\n"
        "        try: self.host.apply(index, index * 1000 + self.host.me)\n"
        "        except BaseException: pass\n"
    )
    assert "State Machine Safety" in failure_of(tmp_path, HEAD + body, "basic_agreement")


def test_a_term_that_is_not_persisted_is_broken(tmp_path: Path) -> None:
    body = "    def persist(self, snapshot=None):\n        pass\n"
    assert "kept over crashes" in failure_of(tmp_path, HEAD + body, "persist_1")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class Raft(:\n", "is not Python"),
        ("x = 1\n", "has no class Raft"),
        ("class Raft:\n    pass\n", "has no method start"),
        ("1 / 0\n", "ZeroDivisionError at my_raft.py:1"),
        ("exit()\n", "SystemExit at my_raft.py:1"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "my_raft.py"
    file.write_text(text)
    with pytest.raises(BadInput) as error:
        load_core(str(file))
    assert sentence in error.value.message and "\n" not in error.value.message


def test_a_missing_file_and_an_unknown_test_get_one_sentence() -> None:
    with pytest.raises(BadInput, match="There is no file"):
        load_core("nowhere.py")
    with pytest.raises(BadInput, match="There is no lab test"):
        lab_tests("2E")


def test_the_skeleton_runs_and_fails_for_want_of_a_leader(tmp_path: Path) -> None:
    file = tmp_path / "my_raft.py"
    write_skeleton(file)
    with pytest.raises(BadInput, match="exists already"):
        write_skeleton(file)
    assert "elects a leader" in failure_of(tmp_path, file.read_text())


def test_the_manual_shows_the_skeleton_as_it_is() -> None:
    manual = Path(__file__).parents[2] / "docs" / "LAB.md"
    assert SKELETON.read_text().split("import pickle")[1].strip() in manual.read_text()


def test_the_command_ends_with_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    arguments = ["lab", "raft", "--test", "figure_8_by_steps", "--seeds", "1", "--json", "--core"]
    passed = runner.invoke(app, [*arguments, "simple"])
    assert passed.exit_code == 0
    assert json.loads(passed.stdout)["failure"] is None
    failed = runner.invoke(app, [*arguments, "commits_old_terms"])
    assert failed.exit_code == 1
    report = json.loads(failed.stdout)
    assert report["failure"]["test"] == "figure_8_by_steps"
    assert Path(report["failure"]["timeline"]).is_file()
    assert report["tests"][0]["passed"] is False
