"""The memory tests of the course's key/value server (2024), by name."""

from collections.abc import Callable

import pytest
from labs.kv.memory import MEMORY_TESTS
from msgspec import to_builtins

from quorate.simulator.lab.results import Measure, Result

CLERKS = 2_000
MANY_CLERKS = 100_000


@pytest.mark.parametrize("test", MEMORY_TESTS, ids=lambda test: test.__name__)
def test_a_server_keeps_no_more_than_it_must(
    test: Callable[[int], Measure],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    clerks = MANY_CLERKS if request.config.getoption("--long-labs") else CLERKS
    measure = test(clerks)
    result = Result(test.__name__, [measure], 0, 0, 0, 0, 0, 0, 0)
    record_property("kv lab", to_builtins(result))
    assert measure.holds, measure
