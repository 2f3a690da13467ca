"""Paths of a ``Disk``: relative, with ``/``, and never out of the directory they are relative to.

A path that could leave its root is a bug of the caller (what comes from the network or the user
is checked where it comes in), so it stops the process rather than raising an error to handle.
"""

from quorate.base.check import check


def path_parts(path: str) -> tuple[str, ...]:
    """The names in ``path``; empty for the root itself (``""`` or ``"."``)."""
    check(not path.startswith("/") and "\0" not in path, f"not a relative path: {path!r}")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    check(".." not in parts, f"the path {path!r} leaves its directory")
    return parts
