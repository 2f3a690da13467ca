"""Paths: what is a path and what is refused, with which sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.errors import BadInput
from quorate.gfs.core.paths import join, split

names = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1)


@given(st.lists(names.filter(lambda n: n not in (".", "..") and len(n.encode()) <= 255)))
def test_a_path_is_taken_apart_and_put_together_again(parts: list[str]) -> None:
    assert split(join(tuple(parts))) == tuple(parts)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "must be absolute"),
        ("a/b", "must be absolute"),
        ("//", "empty name"),
        ("/a/", "empty name"),
        ("/a//b", "empty name"),
        ("/a/../b", "'..' as a name"),
        ("/./a", "'.' as a name"),
        ("/a\0b", "control character"),
        ("/a\nb", "control character"),
        ("/a\x7f", "control character"),
        ("/a\x85b", "control character"),
        ("/a\udc80", "not valid Unicode"),
        ("/" + "x" * 256, "256 bytes; a name takes 255"),
        ("/" + "ä" * 128, "256 bytes; a name takes 255"),
        ("/x" * 2049, "4098 bytes; a path takes 4096"),
        ("/" + "x" * 10_000, "10001 bytes; a path takes 4096"),
    ],
)
def test_what_is_no_path_is_refused_with_its_reason(path: str, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        split(path)
    assert sentence in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_the_longest_names_and_paths_are_taken() -> None:
    assert split("/" + "x" * 255) == ("x" * 255,)
    assert len(split("/x" * 2048)) == 2048
    assert split("/") == ()
