"""A command finds its cluster although a node is dead."""

import pytest

from quorate.base.errors import BadInput
from quorate.library.connection import seeds_of


def test_without_an_option_the_nodes_of_a_plain_up_are_asked() -> None:
    assert seeds_of(None) == ["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7420"]


def test_several_nodes_may_be_named() -> None:
    assert seeds_of(["a:1, b:2", "c:3"]) == ["a:1", "b:2", "c:3"]


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadInput, match="'a' is no node"):
        seeds_of(["a"])
