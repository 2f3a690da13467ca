"""What partitions and noises do to the links between machines."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import TypeAlias

from quorate.runtime.simulated.faults import Link
from quorate.simulator.nemeses.faults import Noise

Direction: TypeAlias = tuple[str, str]


def directions(shape: str, side: Sequence[str], rest: Sequence[str]) -> list[Direction]:
    """What a partition cuts."""
    match shape:
        case "one way":
            return list(product(side, rest))
        case "bridge":
            return both_ways(side[1:], rest) if len(side) > 1 else both_ways(rest[:1], rest[1:])
        case "ring":
            around = [*side, *rest]
            last = len(around) - 1
            return [
                (around[a], around[b])
                for a, b in permutations(range(len(around)), 2)
                if abs(a - b) not in (1, last) or (last == 2 and {a, b} == {0, 2})
            ]
        case _:
            return both_ways(side, rest)


def both_ways(side: Iterable[str], rest: Sequence[str]) -> list[Direction]:
    """Nothing passes between ``side`` and ``rest``."""
    return [pair for a, b in product(side, rest) for pair in ((a, b), (b, a))]


def noisy(link: Link, noises: Sequence[Noise]) -> Link:
    """What ``link`` is while these last: of each kind the worst."""

    def rate(what: str) -> float:
        return max((noise.rate for noise in noises if noise.what == what), default=0.0)

    delays = [noise.delay_ms for noise in noises if noise.what == "delay"]
    return replace(
        link,
        delay_ms=max([link.delay_ms, *delays]),
        loss=rate("loss"),
        duplicate=rate("duplicates"),
        reorder=rate("reordering"),
    )


def noisy_links(
    link: Link, noises: Sequence[tuple[str, Noise]], machines: Iterable[str]
) -> dict[Direction, Link]:
    """The links of those machines that ``noises`` name; an empty name means all."""
    changed: dict[Direction, Link] = {}
    for target in dict.fromkeys(name for name, _ in noises if name):
        heard = [noise for name, noise in noises if name in ("", target)]
        for other in list(machines):
            changed[target, other] = changed[other, target] = noisy(link, heard)
    return changed
