"""``python -m fuzz``: every parser, so many inputs in all.

With atheris installed (``pip install -e '.[fuzz]'``) a tenth of the inputs is guided by coverage,
which is slow and finds the paths; the others are mutations of what that has found.  Without, all
are mutations of the seeds.  A crash is written as hex, with the command that replays it.
"""

import argparse
import asyncio
import importlib.util
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fuzz.targets import TARGETS

GUIDED = 10
"""One input in so many is guided by coverage."""
CRASHES = Path("fuzz-crashes")
_RUNS = re.compile(rb"Done (\d+) in|^#(\d+)\s", re.MULTILINE)
_SHOWN_BYTES = 6000


@dataclass(slots=True)
class Line:
    """A row of the table that is printed."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    crashes: int = 0

    def __str__(self) -> str:
        rate = self.inputs / self.seconds if self.seconds else 0
        found = f"{self.crashes} CRASHED" if self.crashes else "ok"
        return f"{self.name:26}{self.inputs:>10}{self.seconds:>8.1f} s{rate:>9.0f}/s  {found}"


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """1 if anything crashed."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="a file of hex, as a crash left it")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    given = parser.parse_args()
    names: list[str] = given.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"{', '.join(unknown)}: there are {', '.join(TARGETS)}")
    if given.replay is not None:
        TARGETS[names[0]].run(bytes.fromhex(given.replay.read_text()))
        say("no crash")
        return 0
    guided = importlib.util.find_spec("atheris") is not None
    how = f"one in {GUIDED} guided by coverage" if guided else "none guided: atheris is missing"
    say(f"{given.inputs} inputs over {len(names)} targets, {how}, seed {given.seed}")
    began = time.monotonic()
    weights = {name: TARGETS[name].weight for name in names}
    whole = sum(weights.values())
    shares = {name: -(-given.inputs * weight // whole) for name, weight in weights.items()}
    lines = asyncio.run(_all(shares, given.seed, guided))
    crashes = sum(line.crashes for line in lines)
    say(Line("all", sum(line.inputs for line in lines), time.monotonic() - began, crashes))
    return 1 if crashes else 0


async def _all(shares: dict[str, int], seed: int, guided: bool) -> list[Line]:
    """As many targets at a time as there are cores."""
    turn = asyncio.Semaphore(os.cpu_count() or 1)

    async def run(name: str, inputs: int) -> Line:
        line = Line(name)
        async with turn:
            with tempfile.TemporaryDirectory() as folder:
                first = inputs // GUIDED if guided else 0
                if first:
                    await _run("fuzz.guided", line, first, seed, folder)
                if not line.crashes:
                    await _run("fuzz.unguided", line, inputs - first, seed, folder)
        say(line)
        return line

    return list(await asyncio.gather(*(run(name, share) for name, share in shares.items())))


async def _run(module: str, line: Line, inputs: int, seed: int, folder: str) -> None:
    """One process; what it did is added to ``line``."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, line.name, str(inputs), str(seed), folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    line.seconds += time.monotonic() - began
    line.inputs += max((int(one or other) for one, other in _RUNS.findall(output)), default=0)
    crashes = _kept(line.name, Path(folder))
    if process.returncode or crashes:
        say(output[-_SHOWN_BYTES:].decode("utf-8", "replace"))
        line.crashes += max(crashes, 1)


def _kept(name: str, folder: Path) -> int:
    """Keep what a crash has left: ``crash-…``, ``timeout-…``, ``oom-…``."""
    left = [path for path in folder.glob("*-*") if path.is_file()]
    for path in left:
        CRASHES.mkdir(exist_ok=True)
        kept = CRASHES / f"{name}-{len(list(CRASHES.glob(f'{name}-*'))) + 1}.hex"
        kept.write_text(path.read_bytes().hex())
        say(f"replay: PYTHONPATH=tests {sys.executable} -m fuzz {name} --replay {kept}")
    return len(left)


if __name__ == "__main__":
    sys.exit(main())
