"""From the bytes of one segment to its batches, and the verdict on what is not whole.

The rule and its proof stand in ``format.py``.  This is the only place that applies it:
``check_torn`` returns if the batch at an offset was torn (or never begun), and raises ``Damaged``
if it may have been acknowledged.
"""

from quorate.base.errors import BadConfiguration
from quorate.base.ids import ClusterId, NodeId
from quorate.base.sometimes import sometimes
from quorate.raft.wal.format import (
    FORMAT_VERSION,
    SECTOR,
    STAMP,
    ZERO_SECTOR,
    Batch,
    Damaged,
    batch_bytes,
    decode_batch,
    decode_batch_header,
    decode_segment_header,
)


def damaged(path: str, offset: int, what: str) -> Damaged:
    sometimes("damaged log refused")
    return Damaged(
        f"The log is damaged: {what} ({path}, byte {offset}); this node may have promised what it"
        f" no longer knows: {Damaged.ADVICE}.",
        path=path,
        offset=offset,
    )


def check_segment_header(
    data: bytes, path: str, first: int, cluster: ClusterId, node: NodeId
) -> None:
    """Raises ``Damaged``, or ``BadConfiguration`` for the log of somebody else or of a newer
    version."""
    header = decode_segment_header(data[:SECTOR])
    if header is None:
        raise damaged(path, 0, "the header of a segment is not what was written")
    if header.version > FORMAT_VERSION:
        raise BadConfiguration(
            f"{path} was written by a newer version of quorate (log format {header.version}, this"
            f" one knows {FORMAT_VERSION}): run that version."
        )
    if (header.cluster, header.node) != (cluster, node):
        raise BadConfiguration(
            f"{path} is the log of node {header.node} of cluster {header.cluster}, not of node"
            f" {node} of cluster {cluster}: use the data directory of this node."
        )
    if header.first != first:
        raise damaged(path, 0, f"segment {header.first:016x} bears the name of another")
    if header.size != len(data):
        raise damaged(path, len(data), f"a segment has {len(data)} of {header.size} bytes")


def scan_segment(data: bytes, path: str, first: int, until: int | None) -> list[Batch]:
    """The batches of a segment whose header is good.

    With ``until``, the ``first`` of the next segment: all batches before that, which were synced.
    Without, for the newest segment: all up to the end of the log.
    """
    batches: list[Batch] = []
    offset, sequence = SECTOR, first
    while until is None or sequence < until:
        batch = decode_batch(data, offset)
        if batch is None or batch.sequence != sequence:
            break
        batches.append(batch)
        offset, sequence = batch.end, sequence + 1
    if until is None and batches:
        check_torn(data, path, offset, sequence)
    elif until is None or sequence < until:
        raise damaged(path, offset, f"batch {sequence}, which was synced, cannot be read")
    return batches


def check_torn(data: bytes, path: str, offset: int, sequence: int) -> None:
    """Return if batch ``sequence``, expected at ``offset`` and not whole, was never begun or is
    torn; raise ``Damaged`` otherwise."""
    rest = data[offset:]
    if rest == bytes(len(rest)):
        return  # the ordinary end of the log
    if rest[:SECTOR] == ZERO_SECTOR:
        # Its header sector was not written.  Whatever else is there must be sectors of this
        # batch; the header of a later one would prove that this one was synced.
        for at in range(SECTOR, len(rest), SECTOR):
            sector = rest[at : at + SECTOR]
            if sector[:1] != STAMP and sector != ZERO_SECTOR:
                raise damaged(path, offset + at, f"batch {sequence} is missing before this")
        sometimes("torn tail dropped")
        return
    header = decode_batch_header(data, offset)
    if header is None or header.sequence != sequence:
        raise damaged(path, offset, f"the header of batch {sequence} is not what was written")
    extent = batch_bytes(header.payload_bytes)
    if extent > len(rest):
        raise damaged(path, offset, f"batch {sequence} is longer than its segment")
    if rest[extent:] != bytes(len(rest) - extent):
        raise damaged(path, offset, f"batch {sequence} is not whole, but others follow it")
    if not any(rest[at : at + SECTOR] == ZERO_SECTOR for at in range(SECTOR, extent, SECTOR)):
        raise damaged(path, offset, f"batch {sequence} was written, but not as it stands here")
    sometimes("torn tail dropped")
