"""The whole job in one process, in order: what the output of a cluster must be equal to.

It knows nothing of splits, tasks, attempts and regions; what it shares with the cluster is how
the user's functions are called, which keys go where, and how a pair becomes a line.
"""

from collections.abc import Iterable

from quorate.mapreduce.job_file import load
from quorate.mapreduce.pairs import as_values_arrive, partition
from quorate.mapreduce.tasks import Groups, map_lines, reduce_groups


def run_sequential(
    name: str, source: bytes, files: Iterable[tuple[str, bytes]], reduces: int
) -> list[bytes]:
    """The output files ``part-00000`` … of the job over ``files`` (path and content), in order.

    Raises ``JobFailed``.
    """
    job = load(name, source)
    groups: Groups = {}
    for path, data in files:
        map_lines(job, path, 0, data, groups)
    parts = []
    for keys in partition(groups, reduces):
        mine = {key: as_values_arrive(groups.pop(key)) for key in keys}
        parts.append(b"".join(reduce_groups(job, mine)))
    return parts
