"""What all tests share: options, and property tests that run the same examples every time."""

import pytest
from hypothesis import settings

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
