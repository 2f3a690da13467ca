"""Patterns: what fits and what does not."""

import pytest

from quorate.gfs.glob import literal_prefix, matches


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/*", True),
        ("a/b/c", "a/*", False),
        ("a", "a/*", False),
        ("a.txt", "*.txt", True),
        ("a.txt.gz", "*.txt", False),
        ("ab", "a?", True),
        ("a", "a?", False),
        ("a1", "a[0-3]", True),
        ("a4", "a[0-3]", False),
        ("a4", "a[!0-3]", True),
        (".a", "*", True),
        ("a\u2028b", "a*", True),
        ("a/b/c.py", "**/*.py", True),
        ("c.py", "**/*.py", True),
        ("c.txt", "**/*.py", False),
        ("a/x/y/b", "a/**/b", True),
        ("a/b", "a/**/b", True),
        ("a/x", "a/**/b", False),
        ("a/x/y", "a/**", True),
        ("a", "a/**", True),
        ("a/b/a/b/c", "**/a/b/*", True),
        ("a", "**", True),
        ("x+y", "x+y*", True),
    ],
)
def test_a_path_fits_a_pattern(path: str, pattern: str, fits: bool) -> None:
    assert matches(path.split("/"), pattern.split("/")) is fits


def test_many_wild_cards_take_no_time() -> None:
    assert not matches(["a"] * 60, ["**", "a"] * 30 + ["b"])


def test_what_comes_before_the_first_wild_card_is_plain() -> None:
    assert [literal_prefix(p.split("/")) for p in ("a/b*/c", "*", "a/b", "[a]/b")] == [1, 0, 2, 0]
