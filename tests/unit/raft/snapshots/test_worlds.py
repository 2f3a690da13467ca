"""The same files on a real disk as on the simulated one."""

from pathlib import Path

from contract.worlds import every_world, run_in
from unit.raft.snapshots.machine import (
    GROUP,
    MEMBERS,
    TIME_MS,
    content,
    cut,
    fetch_from,
    snapshot_id,
)
from unit.raft.snapshots.machine import file_bytes as bytes_of_file

from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshots.names import Kind, path_of
from quorate.runtime.ports import World

DATA = content(3_000_000)


@every_world
def test_a_snapshot_is_written_sent_received_and_found_again(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        store = await SnapshotStore.open(world)
        own = await store.write(snapshot_id(4), TIME_MS, MEMBERS, cut(DATA, 7_777))
        assert store.chunk(own.id, 1_000_000, 5) == bytes_of_file(own.id, DATA)[1_000_000:1_000_005]

        raw = bytes_of_file(snapshot_id(5), DATA)
        offer = type(own)(snapshot_id(5), TIME_MS, len(raw), MEMBERS)
        assert await store.receive(offer, fetch_from(raw, 200_000)) == offer
        world.disk.open(path_of(snapshot_id(6), Kind.WRITING), create=True).close()
        world.disk.make_directory(path_of(snapshot_id(9), Kind.WHOLE))
        store = await SnapshotStore.open(world)
        assert store.newest(GROUP) == offer
        assert b"".join(store.read(offer)) == DATA
        directory = Path(path_of(snapshot_id(9), Kind.WHOLE)).name
        whole = Path(path_of(offer.id, Kind.WHOLE)).name
        assert world.disk.list("snapshots") == [whole, directory]

    run_in(kind, tmp_path, scenario)
