"""The tests of the course's key/value labs, by name, over the whole product."""

from collections.abc import Callable

import pytest
from labs.kv.course import KV_COURSE
from labs.kv.lab import LONG, SHORT, run_kv
from msgspec import to_builtins


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name, test in KV_COURSE.items() for seed in range(1, test.seeds + 1)],
)
def test_the_store_keeps_what_the_course_demands(
    name: str,
    seed: int,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    pace = LONG if request.config.getoption("--long-labs") else SHORT
    lab, broken = run_kv(KV_COURSE[name], seed, pace)
    record_property("kv lab", to_builtins(lab.result()))
    if broken is not None:
        raise broken
