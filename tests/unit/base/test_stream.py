"""Records in a stream, wherever it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.errors import CorruptData
from quorate.base.stream import PIECE_BYTES, pack_records, unpack_records

RECORDS = st.lists(st.binary(max_size=20), max_size=8)


@given(RECORDS, st.lists(st.integers(0, 200), max_size=10))
def test_records_come_out_however_the_stream_is_cut(records: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pack_records(records))
    ends = sorted(min(cut, len(stream)) for cut in cuts)
    pieces = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]
    assert list(unpack_records(pieces)) == records


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.data())
def test_a_stream_that_ends_inside_a_record_is_refused(
    records: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(pack_records(records))
    ends = {0}
    for record in records:
        ends.add(max(ends) + 4 + len(record))
    end = data.draw(st.sampled_from([n for n in range(len(stream)) if n not in ends]))
    whole = [r for n, r in enumerate(records) if sum(4 + len(x) for x in records[: n + 1]) <= end]
    got = []
    with pytest.raises(CorruptData, match="middle of a record"):
        for record in unpack_records([stream[:end]]):
            got.append(record)
    assert got == whole


def test_no_stream_is_no_record() -> None:
    assert list(unpack_records([])) == list(unpack_records([b"", b""])) == []


def test_an_empty_record_is_a_record() -> None:
    assert list(unpack_records(pack_records([b"", b"a", b""]))) == [b"", b"a", b""]


def test_records_are_handed_over_as_soon_as_they_are_whole() -> None:
    """So that a large snapshot need not be in memory at once."""
    pieces = iter([b"\0\0\0\1a\0\0", b"\0\1b"])
    records = unpack_records(pieces)
    assert next(records) == b"a"
    assert next(pieces) == b"\0\1b"  # it had not been asked for yet


def test_a_large_record_comes_in_bounded_pieces() -> None:
    record = bytes(range(256)) * (PIECE_BYTES // 100)
    pieces = list(pack_records([b"a", record, b"", record[:PIECE_BYTES]]))
    assert max(map(len, pieces)) == PIECE_BYTES
    assert list(unpack_records(pieces)) == [b"a", record, b"", record[:PIECE_BYTES]]


class _Counted(bytes):
    """A piece that counts how often pieces are added up."""

    added = 0

    def __radd__(self, before: bytes) -> bytes:
        _Counted.added += 1
        return bytes(before) + bytes(self)


def test_a_large_record_is_put_together_once() -> None:
    record = bytes(10_000)
    stream = b"".join(pack_records([record, b"end"]))
    pieces = [_Counted(stream[start : start + 10]) for start in range(0, len(stream), 10)]
    assert list(unpack_records(pieces)) == [record, b"end"]
    assert _Counted.added == 0
