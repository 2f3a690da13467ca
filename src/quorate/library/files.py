"""Files for backups: of this machine, or at any address that fsspec knows ("s3://bucket/name").

A file appears whole or not at all: one of this machine under another name until it is synced, one
elsewhere as its file system has it.  What blocks runs in a thread.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from quorate.base.errors import AlreadyExists, BadInput, DiskFailed, NotFound
from quorate.kv.backup import Read, Source, Write


@asynccontextmanager
async def writer(address: str) -> AsyncIterator[Write]:
    """A new file; raises ``AlreadyExists`` if there is one."""
    remote = _remote(address)
    if remote is not None:
        async with _elsewhere(address, remote) as write:
            yield write
        return
    path = Path(address)
    if await asyncio.to_thread(path.exists):
        raise AlreadyExists(f"{path} exists: name another file, or remove it")
    partial_path = path.with_name(f"{path.name}.partial")
    try:
        file = await asyncio.to_thread(_new, partial_path)
        try:
            with file:

                async def write(data: bytes) -> None:
                    await asyncio.to_thread(file.write, data)

                yield write
                await asyncio.to_thread(_sync, file)
            partial_path.rename(path)
        except BaseException:
            partial_path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DiskFailed(f"{path} cannot be written: {error.strerror}") from error


def _new(path: Path) -> IO[bytes]:
    return path.open("wb")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


@asynccontextmanager
async def _elsewhere(address: str, files: Any) -> AsyncIterator[Write]:
    try:
        if await asyncio.to_thread(files.exists, address):
            raise AlreadyExists(f"{address} exists: name another file, or remove it")
        file = await asyncio.to_thread(files.open, address, "wb")
        try:
            yield partial(asyncio.to_thread, file.write)
            await asyncio.to_thread(file.close)
        except BaseException:
            with suppress(Exception):
                await asyncio.to_thread(file.discard)
            with suppress(Exception):
                await asyncio.to_thread(files.rm, address)
            raise
    except OSError as error:
        raise DiskFailed(f"{address} cannot be written: {error}") from error


def reader(address: str) -> Source:
    """Opens the file at its beginning; raises ``NotFound`` if there is none."""
    remote = _remote(address)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Read]:
        try:
            file = await asyncio.to_thread(open if remote is None else remote.open, address, "rb")
        except FileNotFoundError:
            raise NotFound(f"{address} does not exist") from None
        except OSError as error:
            raise DiskFailed(f"{address} cannot be read: {error.strerror or error}") from error
        try:
            yield partial(asyncio.to_thread, file.read)
        except OSError as error:
            raise DiskFailed(f"{address} cannot be read: {error.strerror or error}") from error
        finally:
            await asyncio.to_thread(file.close)

    return opened


def _remote(address: str) -> Any:
    """The file system of an address elsewhere; ``None`` for a path."""
    if "://" not in address:
        return None
    try:
        import fsspec
    except ImportError:
        raise BadInput(
            f"{address} needs fsspec, which is not installed: 'pip install quorate[fsspec]', and"
            " what it needs for this kind of address"
        ) from None
    try:
        return fsspec.core.url_to_fs(address)[0]
    except (ValueError, ImportError) as error:
        raise BadInput(f"{address} cannot be used: {error}") from None
