"""``quorate lab raft``: a learner's own Raft under the course's tests and our nemeses.

The exit code is the verdict: 0 all tests pass, 1 one fails, 2 the file or an option cannot be used.
The one command that knows the simulator: it is loaded when the command runs, and nothing else of
the product is touched.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quorate.base.errors import BadInput
from quorate.cli.output import JsonOption, can_write, print_json, print_line, print_note

if TYPE_CHECKING:
    from quorate.simulator.lab.command import Failure, Outcome

app = typer.Typer(help="Learn: your own code under our tests.", no_args_is_help=True)
_ROW = "{:6} {:38} {:52} {:>16} {:>12}  {:4} {:>7}"


@app.callback()
def lab() -> None:
    """Learn: your own code under our tests."""


@app.command()
def raft(
    core: Annotated[
        str | None,
        typer.Option("--core", metavar="FILE", help="Your core; it is imported, and so is run."),
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", metavar="NAME", help="One test, or a part: 2A.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Of each test.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="This one alone.")] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            "--timeline",
            metavar="FILE",
            help="Draw the first failure here; default: CORE-TEST-SEED.html.",
        ),
    ] = None,
    new: Annotated[
        Path | None, typer.Option("--new", metavar="FILE", help="Write a core to begin with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run your own Raft through the course's lab tests and a swarm of faults."""
    from quorate.simulator.lab import command

    if new is not None:
        command.write_skeleton(new)
        print_line(f"{new} is a core to begin with: quorate lab raft --core {new}")
        return
    if core is None:
        raise BadInput("Name a core with --core FILE, or begin one with --new FILE.")
    if timeline is not None and not can_write(timeline):  # now, not after the run
        raise BadInput(f"No timeline can be written to {timeline}: name a file with --timeline.")
    tests = command.lab_tests(test)
    outcomes: list[Outcome] = []

    def each(outcome: "Outcome") -> None:
        outcomes.append(outcome)
        if not as_json:
            _show(outcome)

    loaded = command.load_core(core)
    if not as_json:
        print_line(_ROW.format("part", "test (seeds)", "demands", "bound", "figure", "", "seconds"))
    failure = command.run_tests(loaded, tests, seeds, seed, each)
    drawn = None if failure is None else _draw(failure, timeline or failure.default_file)
    if as_json:
        print_json(
            {
                "core": core,
                "tests": [outcome.as_json() for outcome in outcomes],
                "failure": None if failure is None else failure.as_json(drawn),
            }
        )
    else:
        _sum_up(outcomes, failure, drawn)
    raise typer.Exit(0 if failure is None else 1)


def _show(outcome: "Outcome") -> None:
    title = f"{outcome.test.name} ({len(outcome.results)})"
    last = ["pass" if outcome.failure is None else "FAIL", f"{outcome.seconds:.1f}"]
    part = outcome.test.part
    rows: list[tuple[Any, ...]] = [
        (m.what, f"{m.sign} {m.bound:,} {m.unit}".rstrip(), f"{m.figure:,}") for m in outcome.worst
    ]
    for row in rows or [("agreement, in order", "", "")]:
        print_line(_ROW.format(part, title, *row, *last).rstrip())
        part, title, last = "", "", ["", ""]


def _draw(failure: "Failure", file: Path) -> Path | None:
    """The page; a verdict without one is a verdict all the same."""
    try:
        failure.draw(file)
    except OSError as error:
        print_note(f"No timeline: {file} cannot be written: {error.strerror}.")
        return None
    return file


def _sum_up(outcomes: "list[Outcome]", failure: "Failure | None", drawn: Path | None) -> None:
    failed = sum(1 for outcome in outcomes if outcome.failure is not None)
    print_line(f"\n{len(outcomes) - failed} of {len(outcomes)} tests pass.")
    if failure is None:
        return
    print_line(
        f"\nThe first failure: {failure.test}, seed {failure.seed}\n"
        f"  the test:   {failure.promise}\n"
        f"  not kept:   {failure.broken}\n"
        f"  replay:     {failure.replay}"
    )
    if drawn is not None:
        print_line(f"  timeline:   {drawn}; open it in a browser")
    if not failure.repeats:
        print_line(
            "\nA second run with this seed went another way: the core is not a function of its\n"
            "seed.  Take chance from host.random and time from host.now_ms(), do not iterate over\n"
            "sets, and let timeline() change nothing.  The page shows the second run."
        )
