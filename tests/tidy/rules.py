"""The rules of the tree as functions: a checkout's root in, a list of sentences out.

An empty list is a tidy tree.  ``test_tree.py`` holds this checkout to them; ``test_rules.py``
plants a violation of each in a small tree and sees it reported.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
MAX_COLUMNS = 100
MAX_TRACKED_BYTES = 1 << 20
CODE_FOLDERS = ("src", "tests", "examples", "bench")

# Written so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?:^|[^a-zA-Z0-9_./-])/(?:w[o]rk|r[o]ot|h[o]me)/")
REGISTRY = re.compile(r"p[y]pi\.org|p[y]thonhosted|index[-_]u[r]l|f[i]nd-links|registry\.n[p]mjs")

Functions = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(root: Path, *folders: str) -> Iterator[tuple[str, str]]:
    """(path relative to ``root``, text) of each Python file below ``folders``, sorted."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text()


def own_files(root: Path) -> list[Path]:
    """What is, or would be, in the repository: tracked, and new but not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    paths = [root / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str | None:
    """The text of a file, or ``None`` if it is not text."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None


def sizes(root: Path) -> list[str]:
    """Files to 500 lines, functions to 70, 100 columns (DESIGN §7)."""
    found = []
    for name, text in python_files(root, *CODE_FOLDERS):
        lines = text.splitlines()
        if len(lines) > MAX_FILE_LINES:
            found.append(f"{name}: {len(lines)} lines")
        found += [
            f"{name}:{number}: {len(line)} columns"
            for number, line in enumerate(lines, 1)
            if len(line) > MAX_COLUMNS
        ]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Functions):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found.append(f"{name}:{node.lineno}: {node.name} has {length} lines")
    return found


def docstrings(root: Path) -> list[str]:
    """Each module that holds code, and each public class with methods of its own, says what it is.

    A message that is only fields may speak through its names.
    """
    found = []
    for name, text in python_files(root, "src"):
        module = ast.parse(text)
        if module.body and ast.get_docstring(module) is None:
            found.append(f"{name}: no docstring")
        found += [
            f"{name}:{node.lineno}: class {node.name} has no docstring"
            for node in module.body
            if isinstance(node, ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node) is None
            and any(isinstance(part, Functions) for part in node.body)
        ]
    return found


def assertions(root: Path) -> list[str]:
    """``check`` stays on under ``python -O``; ``assert`` does not, so the product has none."""
    return [
        f"{name}:{node.lineno}: assert"
        for name, text in python_files(root, "src")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assert)
    ]


def _machine_lines(root: Path, pattern: re.Pattern[str], what: str) -> list[str]:
    return [
        f"{path.relative_to(root)}:{number}: {what}"
        for path in own_files(root)
        for number, line in enumerate((text_of(path) or "").splitlines(), 1)
        if pattern.search(line)
    ]


def machine_paths(root: Path) -> list[str]:
    """No path of somebody's machine."""
    return _machine_lines(root, MACHINE_PATH, "absolute path of a machine")


def registries(root: Path) -> list[str]:
    """No address of a package registry: where packages come from is the machine's affair."""
    return _machine_lines(root, REGISTRY, "address of a package registry")


def large_files(root: Path) -> list[str]:
    """Nothing above 1 MiB in the repository."""
    return [
        f"{path.relative_to(root)}: {path.stat().st_size} bytes"
        for path in own_files(root)
        if path.stat().st_size > MAX_TRACKED_BYTES
    ]


def dependencies(root: Path) -> list[str]:
    """Each dependency has its line, with the reason for it, in docs/DEPENDENCIES.md."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = list(project.get("dependencies", []))
    for extra in project.get("optional-dependencies", {}).values():
        wanted += extra
    lines = (root / "docs/DEPENDENCIES.md").read_text().splitlines()
    names = sorted({re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in wanted})
    return [
        f"docs/DEPENDENCIES.md: nothing about {name}"
        for name in names
        if not any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", line) for line in lines)
    ]


def documents(root: Path) -> list[Path]:
    """The Markdown files at the top and below docs/."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def links(root: Path) -> list[str]:
    """Each relative link of a document leads to a file of this tree."""
    found = []
    for document in documents(root):
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            place = target.partition("#")[0]
            elsewhere = "://" in place or place.startswith("mailto:")
            if place and not elsewhere and not (document.parent / place).exists():
                found.append(f"{document.relative_to(root)}: link to {target} leads nowhere")
    return found


def _code_pieces(text: str) -> Iterator[str]:
    """The lines of fenced blocks, and inline code outside of them."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            yield line.strip().removeprefix("$ ")
        else:
            yield from re.findall(r"`([^`]+)`", line)


def named_commands(root: Path, commands: Callable[[str], bool]) -> list[str]:
    """Each ``make`` target and ``quorate`` command that a document names is there.

    ``commands`` says whether ``quorate`` has the command of that name.
    """
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))
    found = []
    for document in documents(root):
        name = document.relative_to(root)
        for piece in _code_pieces(document.read_text()):
            target = re.match(r"make ([a-z]+)", piece)
            if target and target[1] not in targets:
                found.append(f"{name}: make has no target {target[1]}")
            command = re.match(r"quorate ((?:fs )?[a-z]+)", piece)
            if command and not commands(command[1]):
                found.append(f"{name}: quorate has no command {command[1]}")
    return found
