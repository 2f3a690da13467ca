"""The verdict on the end of a log: torn (dropped) or damaged (refused)."""

from itertools import product

import pytest

from quorate.base.errors import BadConfiguration
from quorate.base.ids import ClusterId, NodeId
from quorate.raft.wal import scan
from quorate.raft.wal.format import (
    FORMAT_VERSION,
    SECTOR,
    ZERO_SECTOR,
    Damaged,
    SegmentHeader,
    encode_batch,
    encode_segment_header,
)

CLUSTER, NODE = ClusterId("c" * 32), NodeId(1)
PATH = "log/0000000000000007.seg"
FIRST = 7
SIZE = 16 * SECTOR
PAYLOADS = [b"first", bytes(1200), b"last" * 400]
"""Of batches of 1, 3 and 4 sectors."""
IMAGES = [encode_batch(FIRST + at, 1, payload) for at, payload in enumerate(PAYLOADS)]


def segment(*images: bytes, size: int = SIZE, version: int = FORMAT_VERSION) -> bytes:
    header = SegmentHeader(version, NODE, CLUSTER, FIRST, size)
    return (encode_segment_header(header) + b"".join(images)).ljust(size, b"\0")


def check_header(data: bytes, first: int = FIRST) -> None:
    scan.check_segment_header(data, PATH, first, CLUSTER, NODE)


def payloads(data: bytes, until: int | None = None) -> list[bytes]:
    check_header(data)
    return [batch.payload for batch in scan.scan_segment(data, PATH, FIRST, until)]


def without(image: bytes, sectors: list[int]) -> bytes:
    """``image``, of which those sectors were not written."""
    for at in sectors:
        image = image[: at * SECTOR] + ZERO_SECTOR + image[(at + 1) * SECTOR :]
    return image


def test_all_batches_come_back() -> None:
    assert payloads(segment(*IMAGES)) == PAYLOADS
    full = segment(*IMAGES, size=SECTOR * 9)
    assert payloads(full) == PAYLOADS


def test_a_last_batch_with_any_of_its_sectors_unwritten_is_torn() -> None:
    for written in product([False, True], repeat=4):
        missing = [at for at, here in enumerate(written) if not here]
        data = segment(*IMAGES[:2], without(IMAGES[2], missing))
        assert payloads(data) == (PAYLOADS[:2] if missing else PAYLOADS)


def test_an_unwritten_sector_of_a_batch_that_others_follow_is_damage() -> None:
    for missing in ([0], [1], [2], [0, 1], [0, 1, 2]):
        with pytest.raises(Damaged):
            payloads(segment(IMAGES[0], without(IMAGES[1], missing), IMAGES[2]))


def test_batches_follow_even_if_they_are_torn_themselves() -> None:
    for missing in ([3], [1, 2, 3]):
        with pytest.raises(Damaged):
            payloads(segment(IMAGES[0], without(IMAGES[1], [1]), without(IMAGES[2], missing)))


def test_no_flipped_bit_anywhere_in_a_segment_passes() -> None:
    data = segment(*IMAGES, size=10 * SECTOR)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            payloads(bytes(changed))


def test_the_naive_rule_would_lose_acknowledged_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(segment(*IMAGES))
    data[SECTOR * 5 + 100] ^= 1  # in the last batch, which was synced
    with pytest.raises(Damaged):
        payloads(bytes(data))
    monkeypatch.setattr(scan, "check_torn", lambda *_: None)  # truncate at the first bad CRC
    assert payloads(bytes(data)) == PAYLOADS[:2]


def test_a_payload_that_is_itself_a_log_deceives_nobody() -> None:
    """Users may store anything: no content of a torn batch can look like a batch after it."""
    later = b"".join(encode_batch(FIRST + at, 1, b"later" * 300) for at in range(1, 5))
    for shift in range(SECTOR):
        payload = bytes(shift) + later
        image = encode_batch(FIRST + 1, 1, payload)
        size = 2 * SECTOR + len(image)
        torn = segment(IMAGES[0], without(image, [0]), size=size)
        assert payloads(torn) == PAYLOADS[:1]
        assert payloads(segment(IMAGES[0], image, size=size)) == [PAYLOADS[0], payload]


def test_a_batch_out_of_order_is_damage() -> None:
    with pytest.raises(Damaged):
        payloads(segment(IMAGES[0], IMAGES[2]))
    with pytest.raises(Damaged):
        payloads(segment(IMAGES[0], IMAGES[0]))


def test_a_batch_longer_than_its_segment_is_damage() -> None:
    long = encode_batch(FIRST + 1, 1, bytes(SIZE))
    with pytest.raises(Damaged):
        payloads(segment(IMAGES[0], long[: SIZE - 2 * SECTOR]))


def test_the_first_batch_of_a_segment_is_never_torn() -> None:
    """A segment gets its name after its first batch was synced."""
    with pytest.raises(Damaged):
        payloads(segment(without(IMAGES[1], [2])))
    with pytest.raises(Damaged):
        payloads(segment())


def test_an_older_segment_must_be_complete_up_to_the_next() -> None:
    assert payloads(segment(*IMAGES), until=FIRST + 3) == PAYLOADS
    assert payloads(segment(*IMAGES), until=FIRST + 2) == PAYLOADS[:2]
    with pytest.raises(Damaged):
        payloads(segment(*IMAGES), until=FIRST + 4)
    with pytest.raises(Damaged):
        payloads(segment(*IMAGES[:2], without(IMAGES[2], [1])), until=FIRST + 3)


def test_what_a_newer_segment_replaces_may_be_torn() -> None:
    data = segment(*IMAGES[:2], without(IMAGES[2], [1]))
    assert payloads(data, until=FIRST + 2) == PAYLOADS[:2]


def test_a_header_of_another_name_size_or_content_is_damage() -> None:
    data = segment(*IMAGES)
    with pytest.raises(Damaged, match="name of another"):
        check_header(data, first=FIRST + 1)
    with pytest.raises(Damaged, match="8191 of 8192 bytes"):
        check_header(data[:-1])
    with pytest.raises(Damaged, match="header of a segment"):
        check_header(bytes(SIZE))
    with pytest.raises(Damaged, match="header of a segment"):
        check_header(b"")


def test_the_log_of_another_node_or_cluster_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="log of node 1 of cluster"):
        scan.check_segment_header(segment(*IMAGES), PATH, FIRST, CLUSTER, NodeId(2))
    with pytest.raises(BadConfiguration, match="use the data directory of this node"):
        scan.check_segment_header(segment(*IMAGES), PATH, FIRST, ClusterId("d" * 32), NODE)


def test_a_newer_format_is_refused_not_called_damage() -> None:
    with pytest.raises(BadConfiguration, match="newer version"):
        check_header(segment(*IMAGES, version=FORMAT_VERSION + 1))


def test_damage_says_where_and_what_to_do() -> None:
    with pytest.raises(Damaged) as caught:
        payloads(segment(without(IMAGES[0], [0]), IMAGES[1]))
    assert caught.value.details == {"path": PATH, "offset": SECTOR}
    assert "rebuilt from the others" in caught.value.message
