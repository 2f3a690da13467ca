"""Jobs, and running their tasks over a real folder without any cluster."""

from pathlib import Path

from quorate.base.codec import encode
from quorate.mapreduce.splits import plan_splits, read_lines
from quorate.mapreduce.tasks import (
    Mapped,
    MapTask,
    Piece,
    ReduceTask,
    Region,
    Result,
    decode_result,
    run_task,
)
from quorate.runtime.real.disk import RealDisk

WORDCOUNT = b"""
def map(key, value):
    for word in value.split():
        yield word, 1

def reduce(key, values):
    yield key, sum(values)
"""

POSITIONS = b"""
def map(key, value):
    for word in value.split():
        yield word, (key.path, key.offset, value)

def reduce(key, values):
    yield key, [tuple(value) for value in values]
"""


def run(disk: RealDisk, task: MapTask | ReduceTask) -> Result:
    return decode_result(run_task(disk, encode(task)))


async def run_tasks(
    folder: Path, source: bytes, files: list[tuple[str, bytes]], reduces: int, split_bytes: int
) -> list[bytes] | Result:
    """Every task of a job, one after the other; the part files, or the first task's failure."""
    disk = RealDisk(folder)
    contents = dict(files)
    sizes = [(path, len(data)) for path, data in files]
    maps = []
    for number, split in enumerate(plan_splits(sizes, split_bytes, split_bytes)):
        pieces = []
        local = b""
        for wanted in split:

            async def read(offset: int, length: int, path: str = wanted.path) -> bytes:
                return contents[path][offset : offset + length]

            lines = await read_lines(wanted, read)
            pieces.append(Piece(wanted.path, lines.offset, len(local), len(lines.data)))
            local += lines.data
        (folder / f"in{number}").write_bytes(local)
        task = MapTask("job.py", source, f"in{number}", pieces, reduces, f"map{number}")
        result = run(disk, task)
        if not isinstance(result, Mapped):
            return result
        maps.append(result.region_bytes)
    parts = []
    for reduce in range(reduces):
        regions = [
            Region(number, f"map{number}", sum(sizes_of[:reduce]), sizes_of[reduce])
            for number, sizes_of in enumerate(maps)
        ]
        result = run(disk, ReduceTask("job.py", source, regions, f"out{reduce}"))
        parts.append((folder / f"out{reduce}").read_bytes())
    return parts
