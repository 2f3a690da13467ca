"""Marks on rare paths: which ones stand in the source, and which of them no run has hit."""

import ast
from collections.abc import Mapping
from pathlib import Path

import quorate
from quorate.base.check import check

PACKAGE = Path(quorate.__file__).parent


def marks_in(folder: Path = PACKAGE) -> dict[str, list[str]]:
    """Each mark of ``sometimes("...")`` below ``folder``, and the files it stands in."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_mark(node.func):
                argument = node.args[0] if len(node.args) == 1 else None
                text = argument.value if isinstance(argument, ast.Constant) else None
                check(
                    isinstance(text, str),
                    f"{name}:{node.lineno}: a mark is one literal string, so that it can be listed",
                )
                found.setdefault(str(text), []).append(name)
    return dict(sorted(found.items()))


def _is_mark(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute):
        return called.attr == "sometimes"
    return isinstance(called, ast.Name) and called.id == "sometimes"


def marks_report(seen: Mapping[str, int], known: Mapping[str, list[str]]) -> list[str]:
    """One line for each mark with its count, then those that were not hit."""
    lines = [f"{seen[mark]:9}  {mark}" for mark in known if mark in seen]
    return [*lines, *(f"{'never':>9}  {mark} ({known[mark][0]})" for mark in missed(seen, known))]


def missed(seen: Mapping[str, int], known: Mapping[str, list[str]]) -> list[str]:
    """The marks that stand in the source and that no run has hit."""
    return [mark for mark in known if not seen.get(mark)]
