"""Patterns for keys."""

import time

import pytest

from quorate.gateways.resp.commands.pages import after_all
from quorate.gateways.resp.patterns import literal_prefix, pattern


@pytest.mark.parametrize(
    ("glob", "key", "does"),
    [
        (b"*", b"", True),
        (b"h?llo", b"hello", True),
        (b"h?llo", b"hllo", False),
        (b"h*llo", b"heeeello", True),
        (b"h[ae]llo", b"hallo", True),
        (b"h[ae]llo", b"hillo", False),
        (b"h[^e]llo", b"hallo", True),
        (b"h[^e]llo", b"hello", False),
        (b"h[a-c]llo", b"hbllo", True),
        (b"h[c-a]llo", b"hbllo", True),
        (b"h\\*llo", b"h*llo", True),
        (b"h\\*llo", b"hello", False),
        (b"*a*b*c", b"xxaxxbxxc", True),
        (b"*a*b*c", b"xxaxxbxx", False),
        (b"a*a", b"a", False),
        (b"*ab", b"aab", True),
        (b"*ab*ab", b"abab", True),
        (b"a.c", b"abc", False),
        (b"line\n*", b"line\nend\n", True),
        (b"[", b"[", False),
        (b"[]", b"", False),
        (b"a[\\]]b", b"a]b", True),
    ],
)
def test_a_pattern_matches_as_redis_does(glob: bytes, key: bytes, does: bool) -> None:
    assert bool(pattern(glob)(key)) is does


def test_no_pattern_takes_long() -> None:
    began = time.process_time()
    assert not pattern(b"*a" * 200 + b"b")(b"a" * 2000)
    assert time.process_time() - began < 1


def test_all_keys_that_match_lie_in_one_range() -> None:
    assert literal_prefix(b"user:*") == b"user:"
    assert (after_all(b"user:"), after_all(b"a\xff"), after_all(b"\xff")) == (b"user;", b"b", None)
