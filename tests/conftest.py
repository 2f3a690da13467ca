"""What all tests share: options, property tests that run the same examples every time, and who may
run beside whom.

``make test`` runs the tests in one process for each core.  Those that start processes of their own,
and wait for them in real time, are one group: they run one after another in one of those
processes, beside simulations at most, from the beginning, since they take longest.
"""

from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

WITH_PROCESSES = (
    "tests/real/",
    "tests/contract/",
    "tests/pages/",
    "tests/unit/cli/test_doctor.py",
    "tests/unit/library/test_library.py",
)

settings.register_profile("quorate", derandomize=True, database=None, deadline=None)
settings.load_profile("quorate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scenarios",
        action="store_true",
        help="write what the stories (*.txt) print now into them, instead of comparing",
    )
    parser.addoption(
        "--long-labs",
        action="store_true",
        help="the key/value labs' clerks go on for as long as the course has them",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Scheduling(config, log)


class Scheduling(LoadScopeScheduling):
    """Each test by itself, but for those that start processes."""

    def _split_scope(self, nodeid: str) -> str:
        return "processes" if nodeid.startswith(WITH_PROCESSES) else nodeid
