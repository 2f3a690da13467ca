"""The tests of the course's Raft lab, by name, over the whole product: once a seed each."""

from collections.abc import Callable

import pytest
from labs.harness import run_product
from msgspec import to_builtins

from quorate.simulator.lab.course import COURSE


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name, test in COURSE.items() for seed in range(1, test.seeds + 1)],
)
def test_the_product_keeps_what_the_course_demands(
    name: str, seed: int, record_property: Callable[[str, object], None]
) -> None:
    lab, broken = run_product(COURSE[name], seed)
    record_property("lab", to_builtins(lab.result()))
    if broken is not None:
        raise broken
