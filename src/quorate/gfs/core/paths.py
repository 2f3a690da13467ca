"""Paths of files: absolute, ``/a/b``, taken apart and put together again.

A name is any text without ``/``, NUL or other control characters, except ``.`` and ``..``; there
is no current folder, and no second way to write a path.  What is refused here never reaches a
command, so the namespace holds only paths that every door can write down again.
"""

from typing import TypeAlias

from quorate.base.errors import BadInput

MAX_NAME_BYTES = 255
"""Of one name, as UTF-8; what local file systems allow, so that any tree can be copied out."""

MAX_PATH_BYTES = 4096

Parts: TypeAlias = tuple[str, ...]
"""The names of a path from the root down; the root itself is ``()``."""


def _shown(path: str) -> str:
    """A path as it may stand in a sentence, whatever is in it."""
    return ascii(path if len(path) <= 80 else path[:77] + "...")


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def split(path: str) -> Parts:
    """The names in ``path``; raises ``BadInput`` unless it is absolute and plain."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise BadInput(f"the path {_shown(path)} is not valid Unicode; rename the file") from None
    if size > MAX_PATH_BYTES:
        raise BadInput(
            f"the path {_shown(path)} has {size} bytes; a path takes {MAX_PATH_BYTES} at most"
        )
    if not path.startswith("/"):
        raise BadInput(f"the path {_shown(path)} must be absolute: begin it with '/'")
    if path == "/":
        return ()
    parts = tuple(path[1:].split("/"))
    for name in parts:
        check_name(name, path)
    return parts


def check_name(name: str, path: str) -> None:
    """Raise ``BadInput`` unless ``name`` can stand in a folder; ``path`` is for the sentence."""
    if not name:
        raise BadInput(f"the path {_shown(path)} has an empty name; write single slashes only")
    if name in (".", "..") or "/" in name:
        raise BadInput(f"the path {_shown(path)} has {name!r} as a name; write the path in full")
    if any(map(_is_control, name)):
        raise BadInput(f"the path {_shown(path)} has a control character in it; rename the file")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise BadInput(
            f"a name in the path {_shown(path)} has {len(name.encode())} bytes;"
            f" a name takes {MAX_NAME_BYTES} at most"
        )


def join(parts: Parts) -> str:
    return "/" + "/".join(parts)
