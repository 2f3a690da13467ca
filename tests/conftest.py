"""What all tests share: options, property tests that run the same examples every time, and who may
run beside whom.

``make test`` runs the tests in one process for each core.  Those that start processes of their own,
and wait for them in real time, are one group: they run one after another in one of those
processes, beside simulations at most, from the beginning, since they take longest.
"""

from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
WITH_PROCESSES = {
    TESTS / "real",
    TESTS / "contract",
    TESTS / "pages",
    TESTS / "unit/cli/test_doctor.py",
    TESTS / "unit/library/test_library.py",
}

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


@pytest.hookimpl(tryfirst=True)  # before xdist looks who belongs to which group
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def starts_processes(item: pytest.Item) -> bool:
        return not WITH_PROCESSES.isdisjoint((item.path, *item.path.parents))

    items.sort(key=lambda item: not starts_processes(item))
    for item in items:
        if starts_processes(item):
            item.add_marker(pytest.mark.xdist_group("processes"))
