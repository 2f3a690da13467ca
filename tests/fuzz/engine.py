"""Running inputs without coverage: mutations of a corpus, the same ones for the same seed."""

import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from fuzz.mutator import mutated
from fuzz.target import Target

INPUT_SECONDS = 20
MAX_INPUT_BYTES = 8192


@dataclass(slots=True)
class Crash:
    """An input after which something other than a documented error came out."""

    data: bytes
    error: BaseException


@dataclass(slots=True)
class Result:
    """What a run of one target found."""

    inputs: int = 0
    seconds: float = 0.0
    crashes: list[Crash] = field(default_factory=list)


class Hang(Exception):
    """One input took longer than ``INPUT_SECONDS``."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise ``Hang`` where an input goes on for too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"one input takes longer than {INPUT_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(INPUT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def random_run(
    target: Target, inputs: int, seed: int, *, more: Sequence[bytes] = (), crashes: int = 1
) -> Result:
    """The target's seeds, then neighbours of these and of ``more``: ``inputs`` in all, or until
    so many ``crashes``."""
    rng = random.Random(f"{target.name} {seed}")
    seeds = target.seeds()
    corpus = [*seeds, *more]
    result = Result()
    began = time.monotonic()
    for number in range(inputs):
        if number < len(seeds):
            data = seeds[number]
        else:
            data = mutated(rng.choice(corpus), corpus, rng, target.framed)[:MAX_INPUT_BYTES]
        result.inputs += 1
        try:
            with time_limit():
                target.run(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            result.crashes.append(Crash(data, error))
            if len(result.crashes) >= crashes:
                break
    result.seconds = time.monotonic() - began
    return result
