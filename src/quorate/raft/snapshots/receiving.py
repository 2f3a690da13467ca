"""Receiving a snapshot from the replica that has it, chunk by chunk, over any number of breaks.

What was verified stays in a file of its own name until it is whole: after a lost connection or a
crash the transfer goes on where its pieces end.  A sender whose bytes do not check is not trusted
with the rest: what came from it is removed.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from quorate.base.errors import BadConfiguration, CorruptData, DiskFailed, DiskFull, ProtocolError
from quorate.base.sometimes import sometimes
from quorate.raft.core.entries import Snapshot
from quorate.raft.snapshots.format import PIECE_BYTES, Verifier, pieces
from quorate.raft.snapshots.names import Kind, path_of
from quorate.raft.snapshots.output import Output
from quorate.runtime.ports import World

CHUNK_BYTES = 1 << 20
"""What is asked for at once; a sender gives that much or less."""

Fetch: TypeAlias = Callable[[int, int], Awaitable[memoryview]]
"""``fetch(offset, length)``: bytes of the offered file from ``offset`` on, at least one and at
most ``length``.  It has its own deadline; what it raises ends the transfer, to be resumed."""

_ADVICE = (
    "it was removed and will be fetched from its start; if this comes again, examine the memory"
    " and the disk of the node that sent it."
)


async def receive_file(world: World, offer: Snapshot, fetch: Fetch) -> None:
    """Fetch what is missing of ``offer`` and give it its name; errors as in ``receive``."""
    partial = path_of(offer.id, Kind.PARTIAL)
    if world.disk.exists(partial) and not _may_resume(world, partial, offer):
        world.disk.remove(partial)
    output = Output(world, partial)
    try:
        verifier = await _resume(output, offer, partial)
        output.require_space(offer.bytes - output.position)
        await _fetch_rest(output, verifier, offer, fetch)
        await output.publish(path_of(offer.id, Kind.WHOLE))
    except (CorruptData, BadConfiguration, DiskFull, DiskFailed):
        output.remove()
        raise
    finally:
        output.close()


def _may_resume(world: World, partial: str, offer: Snapshot) -> bool:
    """Not if it is longer than what is offered: then those are other bytes."""
    file = world.disk.open(partial)
    size = file.size()
    file.close()
    return size <= offer.bytes


async def _resume(output: Output, offer: Snapshot, partial: str) -> Verifier:
    """Verify what is there already; ``output`` stands behind it."""
    verifier = Verifier(offer, partial, _ADVICE)
    # Where the pieces end is where the transfer broke off: no damage that concerns anybody.
    with suppress(CorruptData, BadConfiguration):
        for piece in pieces(output.file, verifier):
            await output.put(piece.raw)  # once more: format.py, "Transfers"
    if output.position:
        sometimes("snapshot transfer resumed")
    return verifier


async def _fetch_rest(output: Output, verifier: Verifier, offer: Snapshot, fetch: Fetch) -> None:
    buffer = bytearray()
    while not verifier.ended:
        offset = output.position + len(buffer)
        wanted = min(CHUNK_BYTES, offer.bytes - offset)
        if wanted <= 0:
            raise verifier.damaged("it ends before its end")
        data = await fetch(offset, wanted)
        if not 0 < data.nbytes <= wanted:
            raise ProtocolError(
                f"A sender answered {data.nbytes} bytes when asked for {wanted} of a snapshot"
                f" at byte {offset}: it does not speak this protocol; run the same version there."
            )
        buffer += data
        while (piece := verifier.take(bytes(buffer[:PIECE_BYTES]))) is not None:
            del buffer[: len(piece.raw)]
            await output.put(piece.raw)
        await output.turn.spend()
