"""The file system as its users see it (GFS §2.7: the client is a library, and caches no data)."""

from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

from quorate.base.codec import Command
from quorate.base.errors import NotFound
from quorate.base.ids import NAMESPACE_GROUP, Address, NodeId
from quorate.gfs.access import Access
from quorate.gfs.core.blocks import check_chunk_bytes
from quorate.gfs.core.commands import (
    DEFAULT_CHUNK_BYTES,
    Delete,
    DropOutput,
    Mkdir,
    OutputPart,
    PrepareOutput,
    Publish,
    Rename,
)
from quorate.gfs.core.paths import Parts, join, split
from quorate.gfs.glob import literal_prefix, matches, name_matches
from quorate.gfs.messages import (
    MAX_NAMED,
    Copies,
    CountCopies,
    FileStatus,
    ListFiles,
    ListServers,
    ServerStatus,
    StatFile,
)
from quorate.gfs.pool import ChunkPool
from quorate.gfs.reader import FileReader
from quorate.gfs.writer import FileWriter
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

DEFAULT_TIMEOUT_MS = 30_000.0

Files: TypeAlias = list[FileStatus]


class FileSystem:
    """Files of the cluster whose nodes' "rpc" doors are ``addresses``.

    Paths are absolute.  ``timeout_ms`` bounds each call, of a writer or reader each step.
    ``local_node``: read from its chunkserver where that has a replica.  ``creator`` is noted with
    each file.  Every call may raise ``Unavailable`` (nothing was changed) or ``Maybe``.
    """

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        addresses: Sequence[Address],
        *,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        local_node: NodeId | None = None,
        creator: str = "client",
    ) -> None:
        check_chunk_bytes(chunk_bytes)
        self._timeout_ms = timeout_ms
        self._group = GroupClient(world, rpc, addresses, NAMESPACE_GROUP)
        self._access = Access(world, rpc, self._group, timeout_ms, chunk_bytes, local_node, creator)
        self._pool = ChunkPool(self._access)

    # Bytes.

    async def create(self, path: str, *, fence: int = 0, parents: bool = True) -> FileWriter:
        """Begin a new file; it appears at ``close``.  ``fence`` is for files below the temporary
        folder of a job; ``parents``: make the folders above."""
        split(path)
        return FileWriter(self._access, self._pool, path, fence, parents)

    async def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes from ``offset``, up to ``length`` or the end; fewer at the end of the file.

        Raises ``NotFound``, ``Unavailable`` or ``CorruptData``.
        """
        return b"".join([piece async for piece in self.pieces(path, offset, length)])

    def pieces(
        self, path: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[memoryview]:
        """What ``read`` gives, piece by piece, each at most 1 MiB."""
        split(path)
        return FileReader(self._access, path).pieces(offset, length)

    # Names.

    async def stat(self, path: str) -> FileStatus:
        """Raises ``NotFound``."""
        split(path)
        return await self._group.call_leader(StatFile(path), timeout_ms=self._timeout_ms)

    async def list(self, path: str) -> Files:
        """What lies directly in a folder, by name; a file is listed as itself."""
        return await self._listed(path, False)

    async def walk(self, path: str) -> Files:
        """All files at any depth below ``path``, by path; a file is listed as itself."""
        everything = await self._listed(path, True)
        return sorted(
            (status for status in everything if status.type == "file"), key=lambda s: s.path
        )

    async def _listed(self, path: str, recursive: bool) -> Files:
        split(path)
        found: Files = []
        more = True
        while more:
            after = found[-1].path if found else ""
            request = ListFiles(path, after, recursive=recursive)
            page = await self._group.call_leader(request, timeout_ms=self._timeout_ms)
            found += page.files
            more = page.more and bool(page.files)  # or there would be no end
        return found

    async def glob(self, pattern: str) -> Files:
        """Files and folders whose paths fit ``pattern`` (``*``, ``?``, ``[…]``, ``**``), by path;
        none is no error."""
        parts = split(pattern)
        prefix = literal_prefix(parts)
        found = await self._expand(parts[:prefix], parts[prefix:])
        return sorted(found, key=lambda status: status.path)

    async def _expand(self, base: Parts, pattern: Parts) -> Files:
        try:
            if not pattern:
                return [await self.stat(join(base))]
            children = await self._listed(join(base), pattern[0] == "**")
        except NotFound:
            return []
        children = [child for child in children if child.path != join(base)]
        if pattern[0] == "**":
            return [c for c in children if matches(split(c.path)[len(base) :], pattern)]
        fitting = [child for child in children if name_matches(child.name, pattern[0])]
        if len(pattern) == 1:
            return fitting
        found: Files = []
        for child in fitting:
            if child.type == "directory":
                below = pattern[1:]
                literal = literal_prefix(below)
                start = (*base, child.name, *below[:literal])
                found += await self._expand(start, below[literal:])
        return found

    async def mkdir(self, path: str, parents: bool = False) -> None:
        """With ``parents``: also those above, and no error if it exists."""
        split(path)
        await self._execute(Mkdir(path, parents))

    async def delete(self, path: str, recursive: bool = False) -> None:
        """A folder that is not empty only if ``recursive``."""
        split(path)
        await self._execute(Delete(path, recursive))

    async def rename(self, source: str, target: str) -> None:
        """``target`` must not exist."""
        split(source)
        split(target)
        await self._execute(Rename(source, target))

    async def _execute(self, command: Command[None]) -> None:
        await self._group.execute(command, timeout_ms=self._timeout_ms)

    # The output of jobs (core/output.py).

    async def prepare_output(self, folder: str, output: str, owner: str, fence: int) -> bool:
        """Make the temporary ``folder`` of job ``owner``, or raise its fence; true if the job has
        published ``output`` already.

        Raises ``AlreadyExists`` if the output is there, ``Fenced`` if a higher fence is known.
        """
        split(folder)
        split(output)
        command = PrepareOutput(folder, output, owner, fence)
        return (await self._group.execute(command, timeout_ms=self._timeout_ms)).published

    async def publish(
        self, folder: str, output: str, parts: Sequence[tuple[str, str]], owner: str, fence: int
    ) -> None:
        """Make ``output`` appear with exactly the ``parts`` (name, path of an attempt's file), and
        ``folder`` disappear, in one step; again, with no effect, if the job has done so.

        Raises ``Fenced``, ``AlreadyExists`` or ``NotFound``.
        """
        for path in (folder, output, *(path for _, path in parts)):
            split(path)
        moves = [OutputPart(name, path) for name, path in parts]
        await self._execute(Publish(folder, output, moves, owner, fence))

    async def drop_output(self, folder: str, owner: str, fence: int) -> None:
        """Remove the temporary folder of a job that failed, if it is there."""
        split(folder)
        await self._execute(DropOutput(folder, owner, fence))

    # The cluster.

    async def servers(self) -> Sequence[ServerStatus]:
        """The chunkservers, as some master sees them."""
        reply = await self._group.call_leader(ListServers(), timeout_ms=self._timeout_ms)
        return reply.servers

    async def copies_without(self, nodes: Sequence[NodeId]) -> Copies:
        """What the chunks of all files would be without a machine, given by its ids."""
        total = Copies(0, 0, 0, [], "", True)
        while total.more:
            request = CountCopies(list(nodes), total.after)
            page = await self._group.call_leader(request, timeout_ms=self._timeout_ms)
            total.fewer += page.fewer
            total.single += page.single
            total.last += page.last
            total.files = (total.files + page.files)[:MAX_NAMED]
            total.more = page.more and page.after != total.after  # or there would be no end
            total.after = page.after
        return total
