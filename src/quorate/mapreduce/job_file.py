"""The user's job file: a Python file with two generators, ``map`` and ``reduce``.

::

    def map(key, value):      # key: Line(path, offset); value: the line, without its newline
        for word in value.split():
            yield word, 1

    def reduce(key, values):  # values: an iterator over all values of the key
        yield key, sum(values)

``map`` is called for each line of the input (UTF-8; bytes that are not become U+FFFD; a ``\\r``
before the newline stays) and yields pairs.  ``reduce`` is called once for each key, in increasing
order, with the values in order of split and record, and yields the pairs of the output.

The file is executed anew for each task, as a module of its own: nothing that one task leaves in a
global variable is seen by another.
"""

import linecache
import symtable
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from types import CodeType, ModuleType, TracebackType
from typing import Any, NamedTuple

from quorate.base.errors import BadInput, JobFailed
from quorate.mapreduce.core.job_table import MAX_SOURCE_BYTES
from quorate.mapreduce.pairs import shown

_MAX_TRACEBACK_CHARACTERS = 12_000
_SAMPLE = """it must define two generators, for example:
    def map(key, value):
        yield value, 1
    def reduce(key, values):
        yield key, sum(values)"""


class Line(NamedTuple):
    """The key of a map: where its line begins."""

    path: str
    offset: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class JobFunctions:
    """A job file, executed."""

    name: str
    map: Callable[[Line, str], Iterable[Any]]
    reduce: Callable[[Any, Iterable[Any]], Iterable[Any]]


def read_job_file(path: str) -> tuple[str, bytes]:
    """Name and source of the job file at ``path`` of this machine, checked.

    Raises ``BadInput`` if it cannot be read, has a syntax error, or lacks ``map`` or ``reduce``.
    """
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"the job file {path} cannot be read: {error.strerror}") from error
    name = PurePath(path).name
    check_source(name, source)
    return name, source


def check_source(name: str, source: bytes) -> None:
    """What can be said of a job file without running it; raises ``BadInput``."""
    if len(source) > MAX_SOURCE_BYTES:
        raise BadInput(f"the job file {name} is larger than {MAX_SOURCE_BYTES} bytes")
    try:
        compile(source, name, "exec", dont_inherit=True)
        table = symtable.symtable(source.decode(), name, "exec")
    except SyntaxError as error:
        raise BadInput(f"{name}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:  # null bytes, or not UTF-8
        raise BadInput(f"the job file {name} is not Python source: {error}") from error
    bound = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    for function in ("map", "reduce"):
        if function not in bound:
            raise BadInput(f"the job file {name} has no function {function}; {_SAMPLE}")


@lru_cache(maxsize=8)
def _compiled(name: str, source: bytes) -> CodeType:
    return compile(source, name, "exec", dont_inherit=True)


def load(name: str, source: bytes) -> JobFunctions:
    """Execute the job file.  Raises ``JobFailed`` with its traceback if that fails."""
    module = ModuleType("quorate_job_" + PurePath(name).stem)
    module.__file__ = name
    sys.modules[module.__name__] = module  # where dataclasses and the like look themselves up
    text = source.decode(errors="replace")
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        exec(_compiled(name, source), module.__dict__)
    except (Exception, SystemExit) as error:
        raise JobFailed(f"{name} cannot be imported:\n{user_traceback(name, error)}") from error
    for function in ("map", "reduce"):
        if not callable(getattr(module, function, None)):
            raise JobFailed(f"the job file {name} has no function {function}; {_SAMPLE}")
    return JobFunctions(name, module.map, module.reduce)


def _in_file(frames: TracebackType | None, name: str) -> TracebackType | None:
    """From the first frame that is in the job file; ``None`` if there is none."""
    while frames is not None and frames.tb_frame.f_code.co_filename != name:
        frames = frames.tb_next
    return frames


def user_traceback(name: str, error: BaseException) -> str:
    """The traceback of ``error`` from the job file on, without our own frames."""
    frames = _in_file(error.__traceback__, name)
    text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    half = _MAX_TRACEBACK_CHARACTERS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n…\n{text[-half:]}"


def failure(name: str, function: str, error: BaseException, where: str, yielded: object) -> str:
    """The message for an error that ``map`` or ``reduce`` raised, or that its yield caused.

    ``where`` names the record or key; ``yielded`` is what the function yielded last.
    """
    if _in_file(error.__traceback__, name) is not None:
        return f"{user_traceback(name, error)}\n  {where}"
    return (
        f"{name}: {function} must yield pairs (key, value) with a key that can be hashed: "
        f"{type(error).__name__}: {error}\n  {where}\n  the last it yielded: {shown(yielded)}"
    )
