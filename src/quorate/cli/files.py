"""``quorate fs``: files in and out of the cluster, and what is there.

``put`` and ``get`` name their target like ``cp``: an existing directory takes the source under its
own name, anything else is the new name itself.  Neither replaces a file that exists.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO, TypeVar

import typer
from rich.filesize import decimal

from quorate.base.errors import AlreadyExists, BadInput, NotFound, ProtocolError
from quorate.cli.connection import Cluster, with_cluster
from quorate.cli.output import JsonOption, Progress, print_json, print_table
from quorate.gfs.client import FileSystem
from quorate.gfs.core.paths import split
from quorate.gfs.messages import FileStatus

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Files of the cluster.")

PARALLEL_FILES = 16
PIECE_BYTES = 4 << 20

Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Directories with all below.")]
RemotePath = Annotated[str, typer.Argument(metavar="PATH", help="A path in the cluster.")]
RemotePaths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Paths in the cluster.")]


@app.command()
@with_cluster
async def put(
    cluster: Cluster,
    sources: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Local files.")],
    target: Annotated[str, typer.Argument(metavar="DEST", help="A path in the cluster.")],
    recursive: Recursive = False,
) -> None:
    """Store local files in the cluster, on the synced disks of several machines."""
    files = cluster.files
    into = await _is_directory(files, target)
    if len(sources) > 1 and not into:
        raise BadInput(f"{target} is no directory of the cluster, and there are several sources.")
    copies: list[tuple[Path, str]] = []
    for source in sources:
        name = source.absolute().name
        place = _join(target, name) if into else target
        if source.is_dir():
            if not recursive:
                raise BadInput(f"{source} is a directory: add -r to store all that is in it.")
            copies += await _plan_put(files, source, place)
        elif source.is_file():
            copies.append((source, place))
        else:
            raise BadInput(f"{source} is no file or directory of this machine.")
    total = sum(source.stat().st_size for source, _ in copies)
    with Progress("put", total, unit_bytes=True) as progress:
        await _in_parallel(copies, lambda copy: _put_file(files, copy[0], copy[1], progress))


async def _plan_put(files: FileSystem, source: Path, target: str) -> list[tuple[Path, str]]:
    """Make the directories of a tree; its files are what remains to be stored."""
    directories, copies = _tree(source, target)
    for directory in directories:
        await files.mkdir(directory, parents=True)
    return copies


def _tree(source: Path, target: str) -> tuple[list[str], list[tuple[Path, str]]]:
    """The directories to make for a tree, parents first, and its files with their new names."""
    directories, copies = [target], []
    for path in sorted(source.rglob("*")):
        place = _join(target, path.relative_to(source).as_posix())
        if path.is_dir():
            directories.append(place)
        elif path.is_file():
            copies.append((path, place))
    return directories, copies


async def _put_file(files: FileSystem, source: Path, target: str, progress: Progress) -> None:
    try:
        with source.open("rb") as file:
            writer = await files.create(target)
            try:
                while data := file.read(PIECE_BYTES):
                    await writer.write(data)
                    progress.advance(len(data))
            except BaseException:
                writer.abort()
                raise
            await writer.close()
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror}.") from error


@app.command()
@with_cluster
async def get(
    cluster: Cluster,
    sources: Annotated[list[str], typer.Argument(metavar="SRC...", help="Paths in the cluster.")],
    target: Annotated[Path, typer.Argument(metavar="DEST", help="A local path.")],
    recursive: Recursive = False,
) -> None:
    """Copy files of the cluster to this machine."""
    files = cluster.files
    into = target.is_dir()
    if len(sources) > 1 and not into:
        raise BadInput(f"{target} is no directory of this machine, and there are several sources.")
    copies: list[tuple[FileStatus, Path]] = []
    for source in sources:
        status = await files.stat(source)
        place = target / PurePosixPath(source).name if into else target
        if status.type == "file":
            copies.append((status, place))
        elif recursive:
            place.mkdir(parents=True, exist_ok=True)
            for below in await files.walk(source):
                copies.append((below, place / _relative(below.path, status.path)))
        else:
            raise BadInput(f"{source} is a directory: add -r to copy all that is in it.")
    with Progress("get", sum(status.size for status, _ in copies), unit_bytes=True) as progress:
        await _in_parallel(copies, lambda copy: _get_file(files, copy[0], copy[1], progress))


async def _get_file(
    files: FileSystem, status: FileStatus, target: Path, progress: Progress
) -> None:
    """A local file appears whole: it has another name until its last byte was verified."""
    part = target.with_name(target.name + ".part")
    try:
        with _new_file(target, part) as file:
            async for piece in files.pieces(status.path):
                file.write(piece)
                progress.advance(len(piece))
        part.replace(target)
    except OSError as error:
        raise BadInput(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def _new_file(target: Path, part: Path) -> BinaryIO:
    """``part`` open for what will become ``target``, which must not exist."""
    if target.exists():
        raise AlreadyExists(f"{target} exists: remove it, or give another name.")
    part.parent.mkdir(parents=True, exist_ok=True)
    return part.open("wb")


@app.command()
@with_cluster
async def cat(cluster: Cluster, paths: RemotePaths) -> None:
    """Write files of the cluster to standard output."""
    for path in paths:
        async for piece in cluster.files.pieces(path):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


@app.command()
@with_cluster
async def ls(cluster: Cluster, path: RemotePath = "/", as_json: JsonOption = False) -> None:
    """What is in a directory."""
    entries = await cluster.files.list(path)
    if as_json:
        print_json([_short(entry) for entry in entries])
        return
    print_table(
        (),
        [
            (entry.type, decimal(entry.size) if entry.type == "file" else "", entry.path)
            for entry in entries
        ],
    )


@app.command()
@with_cluster
async def stat(cluster: Cluster, path: RemotePath, as_json: JsonOption = False) -> None:
    """All about one file or directory, how many copies of it live included."""
    status = await cluster.files.stat(path)
    facts = _short(status) | {
        "modified_ms": status.modified_ms,
        "chunks": status.chunks,
        "replicas_wanted": status.replicas_wanted,
        "replicas_live": status.replicas_live,
    }
    if as_json:
        print_json(facts)
    else:
        print_table((), [(key, str(value)) for key, value in facts.items()])


@app.command()
@with_cluster
async def rm(cluster: Cluster, paths: RemotePaths, recursive: Recursive = False) -> None:
    """Remove files, and with -r directories."""
    for path in paths:
        await cluster.files.delete(path, recursive=recursive)


@app.command()
@with_cluster
async def mv(
    cluster: Cluster,
    source: Annotated[str, typer.Argument(metavar="FROM", help="A path in the cluster.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Its new name, or a directory.")],
) -> None:
    """Rename a file or directory, at once."""
    if await _is_directory(cluster.files, target):
        target = _join(target, PurePosixPath(source).name)
    await cluster.files.rename(source, target)


@app.command()
@with_cluster
async def mkdir(
    cluster: Cluster,
    paths: RemotePaths,
    parents: Annotated[
        bool, typer.Option("-p", "--parents", help="Parents too; no error if it exists.")
    ] = False,
) -> None:
    """Make directories."""
    for path in paths:
        await cluster.files.mkdir(path, parents=parents)


def _short(status: FileStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "path": status.path,
        "type": status.type,
        "size": status.size,
    }


def _relative(path: str, directory: str) -> PurePosixPath:
    """``path`` as it lies below ``directory``; both came over the network, so what would lead out
    of the directory is refused."""
    parts, above = split(path), split(directory)
    if len(parts) <= len(above) or parts[: len(above)] != above:
        raise ProtocolError(f"the cluster lists {path!r} below {directory!r}, where it cannot be.")
    return PurePosixPath(*parts[len(above) :])


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


async def _is_directory(files: FileSystem, path: str) -> bool:
    try:
        return (await files.stat(path)).type == "directory"
    except NotFound:
        return False


async def _in_parallel(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """``work`` on each item, 16 at a time; the first failure stops all."""
    waiting: Iterator[T] = iter(items)

    async def take() -> None:
        for item in waiting:
            await work(item)

    takers = [asyncio.ensure_future(take()) for _ in range(PARALLEL_FILES)]
    try:
        await asyncio.gather(*takers)
    finally:
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
