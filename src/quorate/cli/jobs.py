"""``quorate run``: a MapReduce job from start to end, with its progress.

On a terminal two bars, for map and reduce; elsewhere a plain line each time a tenth more is done.
Ctrl-C cancels the job.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from quorate.base.errors import QuorateError
from quorate.cli.connection import Cluster, with_cluster
from quorate.cli.output import JsonOption, print_json, print_line, print_note
from quorate.mapreduce.client import JobClient
from quorate.mapreduce.core.commands import JobProgress
from quorate.mapreduce.job_file import read_job_file


@with_cluster
async def run(
    cluster: Cluster,
    job: Annotated[Path, typer.Argument(metavar="JOB.py", help="A file with map and reduce.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Paths or globs in the cluster.")
    ],
    output: Annotated[str, typer.Option(metavar="DIR", help="A new directory of the cluster.")],
    reduces: Annotated[
        int | None, typer.Option(min=1, help="Output files; default: the cluster's task slots.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a MapReduce job over files of the cluster."""
    name, source = read_job_file(str(job))
    jobs = JobClient(cluster.world, cluster.rpc, cluster.addresses)
    number = await jobs.submit(name, source, inputs, output, reduces=reduces)
    display = _Bars() if Console(stderr=True).is_terminal else _Lines()
    try:
        with display:
            progress = await jobs.wait(number, display.show)
    except asyncio.CancelledError:
        await _cancel(jobs, number)
        raise
    if as_json:
        print_json(facts(progress))
    else:
        print_line(summary(progress))


async def _cancel(jobs: JobClient, number: int) -> None:
    """The user's Ctrl-C ends the job as well; a job that cannot be reached goes on."""
    try:
        await jobs.cancel(number)
        print_note(f"job {number} is cancelled")
    except QuorateError as error:
        print_note(f"job {number} could not be cancelled: {error.message}")


def facts(progress: JobProgress) -> dict[str, Any]:
    """What ``--json`` prints of a job."""
    return {
        "job": progress.job,
        "name": progress.name,
        "state": progress.state,
        "output": progress.output,
        "maps": progress.maps.total,
        "reduces": progress.reduces.total,
        "maps_rerun": progress.maps_rerun,
        "attempts_lost": progress.attempts_lost,
        "input_bytes": progress.input_bytes,
        "elapsed_ms": progress.finished_ms - progress.submitted_ms,
    }


def summary(progress: JobProgress) -> str:
    """One line for a person about a job that is done."""
    seconds = (progress.finished_ms - progress.submitted_ms) / 1000
    line = (
        f"job {progress.job}: {progress.maps.total} maps and {progress.reduces.total} reduces in"
        f" {seconds:.1f} s; the output is in {progress.output}"
    )
    if progress.maps_rerun:
        line += f" ({progress.maps_rerun} finished maps ran again)"
    return line


class _Bars:
    """Two bars on the terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._map = self._progress.add_task("map   ", total=None)
        self._reduce = self._progress.add_task("reduce", total=None)

    def show(self, job: JobProgress) -> None:
        """Bring the bars up to date."""
        self._progress.update(self._map, completed=job.maps.done, total=job.maps.total)
        self._progress.update(self._reduce, completed=job.reduces.done, total=job.reduces.total)

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *of_error: object) -> None:
        self._progress.stop()


class _Lines:
    """A line for each tenth, and each time maps have to run again."""

    def __init__(self) -> None:
        self._shown = (-1, -1, 0)

    def show(self, job: JobProgress) -> None:
        """Print a line if there is something new to say."""
        maps, reduces = job.maps, job.reduces
        now = (
            10 * maps.done // max(1, maps.total),
            10 * reduces.done // max(1, reduces.total),
            job.maps_rerun,
        )
        if now != self._shown:
            self._shown = now
            again = f", {job.maps_rerun} maps again" if job.maps_rerun else ""
            print_note(
                f"job {job.job}: map {maps.done}/{maps.total},"
                f" reduce {reduces.done}/{reduces.total}{again}"
            )

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *of_error: object) -> None:
        return None
