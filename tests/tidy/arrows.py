"""Arrows that must never exist (DESIGN §4), as far as import contracts cannot say them.

``.importlinter`` holds the arrows between packages, through any number of steps.  Here is what is
finer than that: what a core may import or call at all, what a service may not touch because the
world belongs to the ports, and which files of another system one may know.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tidy.rules import python_files

SYSTEMS = ("gfs", "kv", "mapreduce")
SERVICES = ("rpc", "raft", *SYSTEMS)
DOORS = ("client", "messages")
"""What one system may import of another."""

WORLD_MODULES = ("time", "random", "os", "socket", "threading", "subprocess", "select", "secrets")
CORE_MODULES = (*WORLD_MODULES, "asyncio", "logging", "multiprocessing", "uuid", "pathlib", "io")
CORE_CALLS = ("hash", "id", "open", "print", "input")
SERVICE_CALLS = ("create_task", "ensure_future", "TaskGroup", "run_in_executor", "to_thread")

ROLES_USERS = (
    "src/quorate/node/process.py",
    "src/quorate/simulator/cluster.py",
    "src/quorate/torture/kv_node.py",
)


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import, those for types only included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from quorate.gfs import client" and "from quorate.gfs.client import X" both
            # become a name that starts with quorate.gfs.client.
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _is_set(node: ast.expr) -> bool:
    """Whether ``node`` is plainly a set, whose order depends on hashes."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("set", "frozenset")
    return isinstance(node, ast.Set | ast.SetComp)


def _called(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def _core(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        parts = name.split(".")
        if parts[0] in CORE_MODULES:
            yield line, f"a core imports {parts[0]}"
        if parts[0] == "quorate" and "core" not in parts[:3] and parts[1:2] != ["base"]:
            yield line, f"a core imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno, "a core is not async"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in CORE_CALLS:
                yield node.lineno, f"a core calls {node.func.id}()"
            iterates = node.func.id in ("list", "tuple", "iter", "enumerate")
            if iterates and any(map(_is_set, node.args)):
                yield node.lineno, "a core iterates over a set"
        if isinstance(node, ast.For | ast.comprehension) and _is_set(node.iter):
            yield node.iter.lineno, "a core iterates over a set"


def cores(root: Path) -> list[str]:
    """Cores are deterministic: event in, effects out (DESIGN §2)."""
    return [
        f"{name}:{line}: {what}"
        for name, text in python_files(root, "src")
        if "core" in name.split("/")
        for line, what in _core(ast.parse(text))
    ]


def _only_types(tree: ast.Module, module: str) -> bool:
    """Whether each use of ``module`` is of a class of it (``random.Random`` in an annotation)."""
    uses = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    ]
    return all(use[:1].isupper() for use in uses)


def _service(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        module = name.split(".")[0]
        types_only = name == "random" and _only_types(tree, name)
        if module in WORLD_MODULES and not types_only:
            yield line, f"a service imports {module}"
        if name.startswith(("asyncio.wait.", "asyncio.TaskGroup", "asyncio.create_task")):
            yield line, f"a service imports {name}"
    for node in ast.walk(tree):
        called = _called(node)
        if called in SERVICE_CALLS and isinstance(node, ast.Call):
            yield node.lineno, f"a service calls {called}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) == ("asyncio", "wait"):
                yield node.lineno, "a service uses asyncio.wait"
            if (node.value.id, node.attr) == ("asyncio", "sleep"):
                yield node.lineno, "a service sleeps by asyncio, not by its clock"


def services(root: Path) -> list[str]:
    """Services touch the world through the ports alone (DESIGN §2)."""
    return [
        f"{name}:{line}: {what}"
        for system in SERVICES
        for name, text in python_files(root, f"src/quorate/{system}")
        if "core" not in name.split("/")
        for line, what in _service(ast.parse(text))
    ]


def _system(name: str) -> str | None:
    parts = name.replace(".", "/").split("/")
    place = parts.index("quorate") + 1 if "quorate" in parts else len(parts)
    return parts[place] if place < len(parts) and parts[place] in SYSTEMS else None


def neighbours(root: Path) -> list[str]:
    """One system knows of another its client and messages; a client knows no server."""
    found = []
    for name, text in python_files(root, *(f"src/quorate/{system}" for system in SERVICES)):
        own = name.split("/")[2]
        for line, imported in imports(ast.parse(text)):
            parts = imported.split(".")
            other = _system(imported)
            if other and other != own and parts[2] not in DOORS:
                found.append(f"{name}:{line}: the inside of another system: {imported}")
            own_part = parts[2] if parts[:2] == ["quorate", own] else ""
            if name.endswith("/client.py") and ("server" in own_part or "driver" in own_part):
                found.append(f"{name}:{line}: a client imports a server: {imported}")
    return found


def roles(root: Path) -> list[str]:
    """Only the composition roots know the table of roles."""
    return [
        f"{name}:{line}: {imported}"
        for name, text in python_files(root, "src")
        if name not in ROLES_USERS
        for line, imported in imports(ast.parse(text))
        if imported.startswith("quorate.node.roles")
    ]
