"""A histogram counts each value once, in the range that holds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.codec import decode, encode
from quorate.base.histogram import DURATION_BOUNDS_MS, Histogram


@given(st.lists(st.floats(0, 1e9)))
def test_each_value_is_counted_where_it_belongs(values: list[float]) -> None:
    histogram = Histogram.of_durations()
    for value in values:
        histogram.observe(value)
    lower = -1.0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        assert count == sum(lower < value <= bound for value in values)
        lower = bound
    assert histogram.count == len(values)
    assert histogram.total == pytest.approx(sum(values))


def test_bounds_ascend_and_a_bound_belongs_to_the_range_that_it_ends() -> None:
    assert sorted(set(DURATION_BOUNDS_MS)) == list(DURATION_BOUNDS_MS)
    histogram = Histogram.of_durations()
    histogram.observe(0.25)
    assert histogram.counts[:3] == [0, 1, 0]


def test_it_travels_as_it_is() -> None:
    histogram = Histogram.of_durations()
    histogram.observe(20_000)
    assert decode(encode(histogram), Histogram) == histogram
