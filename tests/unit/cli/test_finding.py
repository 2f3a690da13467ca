"""A command finds its cluster although a node is dead, and ``status`` says what does not work."""

import pytest

from quorate.base.errors import BadInput
from quorate.base.ids import GROUP_NAMES
from quorate.cli.status import _troubles
from quorate.library.connection import seeds_of


def node(answers: bool, role: str) -> dict[str, object]:
    groups = [{"group": name, "role": role} for name in GROUP_NAMES.values()]
    return {"answers": answers, "groups": groups if answers else []}


def test_without_an_option_the_nodes_of_a_plain_up_are_asked() -> None:
    assert seeds_of(None) == ["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7420"]


def test_several_nodes_may_be_named() -> None:
    assert seeds_of(["a:1, b:2", "c:3"]) == ["a:1", "b:2", "c:3"]


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadInput, match="'a' is no node"):
        seeds_of(["a"])


def test_a_cluster_with_leaders_has_no_troubles() -> None:
    nodes = [node(True, "leader"), node(True, "follower"), node(False, "")]
    assert _troubles({"nodes": nodes}) == []


def test_a_group_without_a_leader_is_a_sentence() -> None:
    nodes = [node(True, "pre_candidate"), node(False, ""), node(False, "")]
    sentences = _troubles({"nodes": nodes})
    assert sentences[0] == "jobs has no leader: 1 of 3 nodes answer, a majority is 2"
    assert len(sentences) == len(GROUP_NAMES)
