"""What a task process runs: one map or reduce task over files of the worker's disk.

``run_task`` is a ``TaskFunction``: it gets the encoded task, reads and writes files below the
directory of the worker's tasks, and answers with an encoded result.  It never raises for what the
user's functions do: that is a ``Raised`` with the traceback and the record.

Where the CPU goes is decided here, so: the cyclic collector is off during a task (everything is
kept, and scanning it again and again costs more than all else); values are gathered in one
dictionary for the whole split, and keys are sorted after that, when there are few (MapReduce §4.3
combines for the same reason); the loop notes the record it is at in local variables only, which
cost nothing and are still there when it fails.
"""

import gc
from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeAlias

import msgspec

from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.errors import CorruptData, JobFailed
from quorate.mapreduce.job_file import JobFunctions, Line, failure, load
from quorate.mapreduce.pairs import (
    check_pair,
    merge_regions,
    output_lines,
    partition,
    partition_of,
    shown,
    sort_keys,
    write_region,
)
from quorate.runtime.ports import Disk, File

FUNCTION = "quorate.mapreduce.tasks:run_task"
"""The name under which ``Processes.start`` finds ``run_task``."""

_BLOCK_BYTES = 1 << 20
_OUTPUT_PAIRS = 8192


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """Whole lines of one input file, fetched: ``length`` bytes at ``position`` of a local file,
    which stand at ``offset`` of ``path`` in the file system."""

    path: str
    offset: int
    position: int
    length: int


class MapTask(msgspec.Struct, array_like=True, frozen=True, tag="map"):
    name: str
    source: bytes
    input: str
    """The local file with the pieces."""
    pieces: list[Piece]
    reduces: int
    output: str
    """The local file to write the regions to, one behind the other."""


class Region(msgspec.Struct, array_like=True, frozen=True):
    """A region of map output in a local file."""

    map_task: int
    file: str
    position: int
    length: int


class ReduceTask(msgspec.Struct, array_like=True, frozen=True, tag="reduce"):
    name: str
    source: bytes
    regions: list[Region]
    """In order of map task."""
    output: str
    """The local file to write the lines to."""


class Mapped(msgspec.Struct, array_like=True, frozen=True, tag="mapped"):
    region_bytes: list[int]


class Reduced(msgspec.Struct, array_like=True, frozen=True, tag="reduced"):
    output_bytes: int


class Raised(msgspec.Struct, array_like=True, frozen=True, tag="raised"):
    """The job cannot go on, because of its own functions or what they yield."""

    message: str


class Damaged(msgspec.Struct, array_like=True, frozen=True, tag="damaged"):
    """A region is not what the map task wrote."""

    map_task: int


Result: TypeAlias = Mapped | Reduced | Raised | Damaged
Groups: TypeAlias = dict[Any, list[Any]]


def run_task(disk: Disk, request: bytes) -> bytes:
    """Run the encoded ``MapTask`` or ``ReduceTask``; gives an encoded ``Result``."""
    task: MapTask | ReduceTask = decode(request, MapTask | ReduceTask)
    collects = gc.isenabled()
    gc.disable()
    try:
        job = load(task.name, task.source)
        run = _run_map if isinstance(task, MapTask) else _run_reduce
        return encode(run(disk, job, task))  # type: ignore[arg-type]
    except JobFailed as error:
        return encode(Raised(error.message))
    finally:
        if collects:
            gc.enable()


def decode_result(reply: bytes) -> Result:
    """What a task process answered; raises ``CorruptData`` if that is no result."""
    try:
        result: Result = decode(reply, Result)
    except UNREADABLE as error:
        raise CorruptData(f"a task process answered with what is no result: {error}") from None
    return result


# Map.


def map_lines(job: JobFunctions, path: str, offset: int, data: bytes, groups: Groups) -> None:
    """Call ``map`` for each line of ``data``, whole lines that begin at byte ``offset`` of
    ``path``, and add what it yields to ``groups``.  Raises ``JobFailed``."""
    map_function = job.map
    get = groups.get
    new_line = tuple.__new__  # a NamedTuple's own constructor takes nearly twice as long
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    in_bytes = lines if len(text) == len(data) else data.split(b"\n")
    if not lines[-1]:
        del lines[-1]  # the end of the last line, not a line
    line = ""
    pair: Any = None
    try:
        for line, line_bytes in zip(lines, in_bytes, strict=False):
            for pair in map_function(new_line(Line, (path, offset)), line):
                key, value = pair
                values = get(key)
                if values is None:  # cheaper than a defaultdict, where most keys are rare
                    groups[key] = [value]
                else:
                    values.append(value)
            offset += len(line_bytes) + 1
    except (Exception, SystemExit) as error:
        where = _record(path, offset, line)
        raise JobFailed(failure(job.name, "map", error, where, pair)) from error


def _record(path: str, offset: int, line: str) -> str:
    return f"in the record at byte {offset} of {path}: {shown(line)}"


def _blocks(file: File, piece: Piece) -> Iterator[tuple[int, bytes]]:
    """A piece as blocks of whole lines, each with its offset in the input file."""
    done = 0
    wanted = _BLOCK_BYTES
    while done < piece.length:
        block = file.read(piece.position + done, min(wanted, piece.length - done))
        if done + len(block) < piece.length:
            whole = block.rfind(b"\n") + 1
            if whole == 0:  # a line longer than the block
                wanted *= 2
                continue
            block = block[:whole]
        yield piece.offset + done, block
        done += len(block)
        wanted = _BLOCK_BYTES


def _run_map(disk: Disk, job: JobFunctions, task: MapTask) -> Mapped:
    source = disk.open(task.input)
    groups: Groups = {}
    for piece in task.pieces:
        for offset, block in _blocks(source, piece):
            map_lines(job, piece.path, offset, block, groups)
    output = disk.open(task.output, create=True)
    position = 0
    region_bytes = []
    try:
        for keys in partition(groups, task.reduces):
            begin = position
            for block in write_region(keys, groups):
                output.write(position, block)
                position += len(block)
            region_bytes.append(position - begin)
    except JobFailed as error:
        blocks = (
            (piece.path, offset, block)
            for piece in task.pieces
            for offset, block in _blocks(source, piece)
        )
        raise find_bad_pair(job, blocks, task.reduces, error) from error
    finally:
        output.close()
        source.close()
    return Mapped(region_bytes)


def find_bad_pair(
    job: JobFunctions, blocks: Iterator[tuple[str, int, bytes]], reduces: int, found: JobFailed
) -> JobFailed:
    """The record whose pair caused the error ``found``, which was met when all pairs were
    together: map again, slowly, looking at each pair."""
    seen: dict[int, Any] = {}
    for path, position, block in blocks:
        offset = position
        for line in block.removesuffix(b"\n").split(b"\n"):
            groups: Groups = {}
            map_lines(job, path, offset, line + b"\n", groups)
            try:
                for key, values in groups.items():
                    for value in values:
                        check_pair(key, value)
                    sort_keys([key, seen.setdefault(partition_of(key, reduces), key)])
            except JobFailed as error:
                where = _record(path, offset, line.decode("utf-8", "replace"))
                return JobFailed(f"{job.name}: {error.message}\n  {where}")
            offset += len(line) + 1
    return JobFailed(f"{job.name}: {found.message}")


# Reduce.


def reduce_groups(job: JobFunctions, groups: Groups) -> Iterator[bytes]:
    """Call ``reduce`` for each key, in increasing order; gives the output in pieces of whole
    lines.  Raises ``JobFailed``."""
    keys = list(groups)
    reduce_function = job.reduce
    key: Any = None
    pair: Any = None
    pairs: list[tuple[object, object]] = []
    try:
        sort_keys(keys)
        for key in keys:
            for pair in reduce_function(key, iter(groups.pop(key))):
                out_key, value = pair
                pairs.append((out_key, value))
                if len(pairs) >= _OUTPUT_PAIRS:
                    yield output_lines(pairs)
                    pairs.clear()
        yield output_lines(pairs)
    except JobFailed as error:
        raise JobFailed(f"{job.name}: {error.message}") from error
    except (Exception, SystemExit) as error:
        where = f"in the values of the key {shown(key)}"
        raise JobFailed(failure(job.name, "reduce", error, where, pair)) from error


def _run_reduce(disk: Disk, job: JobFunctions, task: ReduceTask) -> Reduced | Damaged:
    files: dict[str, File] = {}
    current = -1

    def regions() -> Iterator[bytes]:
        nonlocal current
        for region in task.regions:
            current = region.map_task
            if region.file not in files:
                files[region.file] = disk.open(region.file)
            yield files[region.file].read(region.position, region.length)

    output = disk.open(task.output, create=True)
    position = 0
    try:
        groups = merge_regions(regions())
        for lines in reduce_groups(job, groups):
            output.write(position, lines)
            position += len(lines)
    except CorruptData:
        return Damaged(current)
    finally:
        for file in chain(files.values(), (output,)):
            file.close()
    return Reduced(position)
