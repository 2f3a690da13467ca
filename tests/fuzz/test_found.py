"""What fuzzing has found, as small as it gets: each of these once stopped a process."""

import asyncio
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from fuzz.disk_targets import GROUP, OWNER, run
from fuzz.memory import MemoryDisk, MemoryFile, memory_world
from fuzz.text_targets import CONFIG

from quorate.base.checksum import crc32c
from quorate.base.codec import decode, encode, outcome_of, result_of
from quorate.base.errors import (
    BadConfiguration,
    BadInput,
    CorruptData,
    NotJudged,
    NotLeader,
    ProtocolError,
    Unavailable,
)
from quorate.base.ids import Address
from quorate.base.machine import Meta, restore_all
from quorate.base.stream import pack_records, unpack_records
from quorate.cli import files
from quorate.gfs.chunk_file import HEADER_BYTES, pack_head, read_head
from quorate.gfs.chunk_store import ChunkStore
from quorate.gfs.client import FileSystem
from quorate.gfs.core.blocks import block_checksums
from quorate.gfs.core.commands import BLOCK_BYTES, Mkdir, Stat
from quorate.gfs.core.namespace import Namespace
from quorate.gfs.messages import FilePage, Located, PlaceChunks, Placement, WriteChunk
from quorate.gfs.pool import place_chunks
from quorate.linearizability.jepsen import read_history
from quorate.linearizability.models import MODELS
from quorate.mapreduce.core import commands as j
from quorate.mapreduce.core.invariants import check_state
from quorate.mapreduce.core.job_table import JobTable
from quorate.mapreduce.pairs import merge_regions
from quorate.mapreduce.tasks import decode_result
from quorate.node.config import load
from quorate.node.reports import parse
from quorate.raft.core.entries import Entry
from quorate.raft.wal.format import decode_batch, encode_batch
from quorate.raft.wal.records import Append, fold
from quorate.runtime.real.network import RealNetwork, split_address
from quorate.runtime.record import read_record

NOT_UTF_8 = b"\xff\xfe"
META = Meta(1, 1, 1_000)


def applied(table: JobTable, *commands: Any) -> list[Any]:
    """The values of the replies; errors as they are."""
    found: list[Any] = []
    for command in commands:
        (reply,) = table.apply_batch(META, [encode(command)])
        check_state(table)
        try:
            found.append(result_of(reply, Any))
        except BadInput as error:
            found.append(error)
    return found


def a_running_job(reduces: int = 1) -> JobTable:
    """One map, whose attempt runs on the worker 1-a."""
    table = JobTable()
    applied(
        table,
        j.RegisterWorker("1-a", 1, "127.0.0.1:7402", 4),
        j.OpenJob("t", "job.py", b"", reduces, "/out"),
        j.AddSplits(1, 0, [[j.Range("/in", 0, 10, 10)]]),
        j.StartJob(1, 1),
        j.AssignTasks("1-a", 4),
    )
    return table


def test_text_that_is_not_utf_8_in_a_command_does_not_stop_every_replica() -> None:
    machine = Namespace()
    command = encode(Mkdir("/ab")).replace(b"ab", NOT_UTF_8)
    query = encode(Stat("/ab")).replace(b"ab", NOT_UTF_8)
    with pytest.raises(BadInput, match="not a command of this state machine"):
        result_of(machine.apply_batch(META, [command])[0], type(None))
    with pytest.raises(BadInput, match="not a query of this state machine"):
        result_of(machine.query(query), Any)


def test_sizes_that_add_up_to_no_number_do_not_stop_every_replica() -> None:
    huge = [j.Range("/a", 0, 1 << 63, 1 << 63)] * 2
    table = JobTable()
    applied(table, j.OpenJob("t", "n", b"", 1, "/o"))
    assert isinstance(applied(table, j.AddSplits(1, 0, [huge]))[0], BadInput)


@pytest.mark.parametrize("kinds", [("reduce", "map"), ("map", "map"), ("reduce", "reduce")])
def test_a_task_that_waits_for_the_wrong_kind_changes_nothing(kinds: tuple[Any, Any]) -> None:
    table = a_running_job(reduces=3)
    if kinds[1] == "reduce":
        applied(table, j.TaskDone(j.Attempt(1, "map", 0, 1), "1-a", [1, 1, 1]))
        applied(table, j.AssignTasks("1-a", 4))
        applied(table, j.TaskDone(j.Attempt(1, "reduce", 2, 1), "1-a"))
    before = table.digest()
    lost = j.Attempt(1, kinds[0], 2 if kinds[0] == "reduce" else 0, 1)
    waiting = j.Attempt(1, kinds[1], 0, 1)
    assert isinstance(applied(table, j.MapOutputLost(lost, waiting, "gone"))[0], BadInput)
    assert table.digest() == before


def test_a_worker_that_comes_back_from_another_node_is_lost_there() -> None:
    table = a_running_job()
    applied(table, j.RegisterWorker("1-a", 2, "127.0.0.1:7412", 4))
    applied(table, j.TaskDone(j.Attempt(1, "map", 0, 1), "1-a", [5]))
    applied(table, j.WorkerLost("1-a"))
    again = JobTable()
    restore_all(again, table.snapshot())
    assert again.digest() == table.digest()


def test_a_worker_without_slots_is_none() -> None:
    assert isinstance(applied(JobTable(), j.RegisterWorker("1-a", 1, "x", 0))[0], BadInput)


@pytest.mark.parametrize("change", ["a worker twice", "a job twice", "a task nowhere"])
def test_a_job_table_that_contradicts_itself_is_not_restored(change: str) -> None:
    header, *job = map(decode_any, unpack_records(a_running_job().snapshot()))
    if change == "a worker twice":
        header[0] *= 2
    elif change == "a job twice":
        header[1], job = 2, job * 2
    else:
        header[0] = []
    with pytest.raises(CorruptData, match="damaged"):
        restore_all(JobTable(), pack_records(map(encode, [header, *job])))


def decode_any(record: bytes) -> Any:
    return decode(record, Any)


def test_a_chunk_with_a_negative_handle_does_not_stop_the_chunkserver() -> None:
    async def main() -> None:
        stopped: list[BaseException] = []
        store = ChunkStore(memory_world(stopped.append), OWNER, lambda handle, present: None)
        data = b"content"
        request = WriteChunk(-1, 0, BLOCK_BYTES, block_checksums(data), len(data))
        with pytest.raises(BadInput, match="does not fit"):
            await store.write(request, memoryview(data))
        await asyncio.sleep(0)
        assert not stopped

    run(main())


@pytest.mark.parametrize(("length", "offset"), [(1 << 40, 4096), (10, 8), (0, 1 << 30)])
def test_a_chunk_head_of_good_checksums_may_still_be_none(length: int, offset: int) -> None:
    raw = bytearray(pack_head(OWNER, 7, BLOCK_BYTES, 10, block_checksums(bytes(10))))
    struct.pack_into(">QI", raw, HEADER_BYTES - 20, length, offset)
    table = bytes(raw[HEADER_BYTES:offset])
    struct.pack_into(">I", raw, HEADER_BYTES - 8, crc32c(table))
    struct.pack_into(">I", raw, HEADER_BYTES - 4, crc32c(bytes(raw[: HEADER_BYTES - 4])))
    with pytest.raises(CorruptData):
        read_head(MemoryFile(bytes(raw)), OWNER, 7)


@pytest.mark.parametrize(
    "payload",
    [
        [["a"], []],  # keys without values
        [[{}], [[1]]],  # a key that cannot be one
        [[[{}]], [[1]]],
        ["a", [[1]]],
    ],
)
def test_a_region_of_good_checksum_may_still_be_none(payload: Any) -> None:
    block = encode(payload)
    with pytest.raises(CorruptData):
        merge_regions([struct.pack(">II", len(block), crc32c(block)) + block])


def test_what_a_task_process_answers_may_be_no_result() -> None:
    with pytest.raises(CorruptData, match="no result"):
        decode_result(b"\x91\xa2" + NOT_UTF_8)


def test_an_append_from_the_far_past_takes_no_time_to_read() -> None:
    last = (1 << 61) + 1
    payloads = [
        encode([Append(GROUP, last, [Entry(last, 1, 1, b"x")])]),
        encode([Append(GROUP, 1, [Entry(1, 1, 1, b"y")])]),
    ]
    began = time.monotonic()
    batches = [
        decode_batch(encode_batch(at, 1, payload), 0) for at, payload in enumerate(payloads, 1)
    ]
    folded = fold(batch for batch in batches if batch is not None)[GROUP]
    assert [entry.index for entry, _ in folded.current()] == [1]
    assert time.monotonic() - began < 5


def test_records_and_reports_may_hold_text_that_is_not_utf_8() -> None:
    disk = MemoryDisk()
    content = b'{"cluster":"' + NOT_UTF_8 + b'"}'
    sealed = b'{"format":1,"crc32c":"%08x","content":%s}' % (crc32c(content), content)
    disk.files["record"] = MemoryFile(sealed)
    with pytest.raises(CorruptData):
        read_record(disk, "record", Mkdir, "the record")
    assert parse(b'{"type":"failed","code":"' + NOT_UTF_8 + b'","message":"no"}') is None


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "a\0b", "é" * 70, "[]", "[.]"])
def test_an_address_that_no_resolver_takes_is_refused_before_one_is_asked(host: str) -> None:
    address = Address(f"{host}:7400")
    with pytest.raises(BadInput, match="is not an address"):
        split_address(address)

    async def main() -> None:
        with pytest.raises(Unavailable, match="is not an address"):
            await RealNetwork().connect(address, None, 100, 100)  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_port_with_more_digits_than_python_reads_is_refused() -> None:
    with pytest.raises(BadInput, match="is not an address"):
        split_address(Address("host:" + "1" * 5000))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b'"data"', b'"da\\u0000ta"', "data_dir"),
        (b'"ca.pem"', b'"c\\u0000"', "tls.ca"),
        (b"tasks = 2", b"tasks = 1025", "must be 1 to 1024"),
        (b"_timeout_ms = 1000", b"_timeout_ms = 1" + b"0" * 400, "at most 3600000"),
        (b"tasks = 2", b"tasks = " + b"[" * 5000, "is not TOML"),
    ],
)
def test_a_configuration_that_cannot_be_is_a_sentence(
    old: bytes, new: bytes, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "node.toml"
    assert old in CONFIG
    path.write_bytes(CONFIG.replace(old, new))
    with pytest.raises(BadConfiguration, match=sentence):
        load(path)


@pytest.mark.parametrize("listed", ["/a/../../x", "/other/x", "/a", "/ab/x", "x"])
def test_get_writes_nowhere_but_below_its_target(listed: str) -> None:
    """What a cluster lists becomes a local path."""
    assert files._relative("/a/b/c.txt", "/a").as_posix() == "b/c.txt"
    assert files._relative("/b/c.txt", "/").as_posix() == "b/c.txt"
    with pytest.raises((ProtocolError, BadInput)):
        files._relative(listed, "/a")


def test_an_answer_that_is_none_is_a_protocol_error() -> None:
    for answer in (b"", b"\x92\xa1", outcome_of("text"), b"\x92\xa2" + NOT_UTF_8 + b"\xc0"):
        with pytest.raises(ProtocolError):
            result_of(answer, int)
    with pytest.raises(NotLeader):
        result_of(outcome_of(NotLeader("elsewhere")), int)


@pytest.mark.parametrize(
    "line",
    [
        b'{"process":0,"type":"invoke","f":"write","value":1,"time":1' + b"0" * 320 + b"}",
        b'{"process":0,"type":"invoke","f":"write","value":' + b"[" * 600 + b"]" * 600 + b"}",
    ],
)
def test_a_history_of_monstrous_numbers_or_nesting_is_refused(line: bytes) -> None:
    with pytest.raises(NotJudged, match="Line 1 has a"):
        read_history(MODELS["register"], [line, line.replace(b"invoke", b"ok")])


class LyingLeader:
    """A group client whose leader answers what it likes."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked = 0

    async def call_leader(self, request: object, *, timeout_ms: float) -> object:
        self.asked += 1
        return self.answer


def deceived(answer: object) -> tuple[FileSystem, LyingLeader]:
    nothing: Any = None
    system = FileSystem(memory_world(nothing), nothing, [Address("a:1")])
    leader = LyingLeader(answer)
    object.__setattr__(system._access, "group", leader)
    system._group = leader  # type: ignore[assignment]
    return system, leader


@pytest.mark.parametrize(
    "located",
    [Located(1, 9, 0, 0, []), Located(1, 9, BLOCK_BYTES, 0, []), Located(1, 9, BLOCK_BYTES, 7, [])],
)
def test_a_master_that_locates_other_chunks_is_not_believed(located: Located) -> None:
    with pytest.raises(ProtocolError, match="other chunks"):
        run(deceived(located)[0].read("/a"))


def test_a_master_that_places_no_chunk_is_not_believed() -> None:
    async def main() -> None:
        with pytest.raises(ProtocolError, match="0 chunks"):
            await place_chunks(deceived(Placement([], 1))[0]._access, PlaceChunks(1, 9, []), 100)

    run(main())


def test_a_listing_without_end_ends() -> None:
    system, leader = deceived(FilePage([], True))
    assert run(system.list("/")) == []
    assert leader.asked == 1
