"""Each rule catches what it forbids: a violation planted in a small tree is reported."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tidy import arrows, rules


def plant(root: Path, name: str, text: str) -> Path:
    """Write one file of a small tree."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


CORE = "src/quorate/gfs/core/namespace.py"
SERVICE = "src/quorate/gfs/master.py"
FUNCTION_OF_71_LINES = "def long():\n" + "    x = 1\n" * 70


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (rules.sizes, "src/a.py", "x = 1\n" * 501),
        (rules.sizes, "tests/a.py", FUNCTION_OF_71_LINES),
        (rules.sizes, "bench/a.py", f'x = "{"y" * 96}"\n'),
        (rules.docstrings, "src/a.py", "x = 1\n"),
        (rules.docstrings, "src/a.py", '"""A."""\nclass A:\n    def f(self): ...\n'),
        (rules.assertions, "src/a.py", "assert x\n"),
        (arrows.cores, CORE, "import time\n"),
        (arrows.cores, CORE, "from random import Random\n"),
        (arrows.cores, CORE, "import logging\n"),
        (arrows.cores, CORE, "from quorate.runtime.ports import World\n"),
        (arrows.cores, CORE, "from quorate.gfs import messages\n"),
        (arrows.cores, CORE, "async def f(): ...\n"),
        (arrows.cores, CORE, "x = hash('a')\n"),
        (arrows.cores, CORE, "x = id(y)\n"),
        (arrows.cores, CORE, "for x in {1, 2}: ...\n"),
        (arrows.cores, CORE, "y = [x for x in set(z)]\n"),
        (arrows.cores, CORE, "y = list(set(z))\n"),
        (arrows.services, SERVICE, "import os\n"),
        (arrows.services, SERVICE, "from time import monotonic\n"),
        (arrows.services, SERVICE, "import random\nx = random.random()\n"),
        (arrows.services, SERVICE, "import asyncio\nasyncio.create_task(f())\n"),
        (arrows.services, SERVICE, "import asyncio\nx = asyncio.TaskGroup()\n"),
        (arrows.services, SERVICE, "import asyncio\nx = asyncio.wait\n"),
        (arrows.services, SERVICE, "import asyncio\nx = asyncio.sleep(1)\n"),
        (arrows.neighbours, "src/quorate/mapreduce/worker.py", "import quorate.gfs.master\n"),
        (arrows.neighbours, "src/quorate/raft/wal.py", "from quorate.gfs.core import chunks\n"),
        (arrows.neighbours, "src/quorate/gfs/client.py", "from quorate.gfs.server import A\n"),
        (arrows.roles, "src/quorate/cli/up.py", "from quorate.node.roles import ROLES\n"),
    ],
)
def test_a_planted_violation_is_reported(
    tmp_path: Path, rule: Callable[[Path], list[str]], name: str, text: str
) -> None:
    plant(tmp_path, name, text)
    assert [sentence for sentence in rule(tmp_path) if name in sentence]


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (rules.sizes, "src/a.py", "x = 1\n" * 500),
        (rules.docstrings, "src/a.py", '"""A."""\nclass A:\n    x: int\n'),
        (arrows.cores, CORE, "from quorate.base.ids import NodeId\nx = sorted(set(y))\n"),
        (arrows.cores, CORE, "from quorate.raft.core.log import Log\nx = 1 in {1, 2}\n"),
        (arrows.services, SERVICE, "import random\ndef f(source: random.Random): ...\n"),
        (arrows.neighbours, "src/quorate/mapreduce/worker.py", "import quorate.gfs.client\n"),
        (arrows.roles, "src/quorate/node/process.py", "import quorate.node.roles\n"),
    ],
)
def test_what_is_allowed_is_not_reported(
    tmp_path: Path, rule: Callable[[Path], list[str]], name: str, text: str
) -> None:
    plant(tmp_path, name, text)
    assert rule(tmp_path) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.machine_paths, "see /" + "home/me/notes"),
        (rules.registries, "pip install --index" + "-url https://example.org"),
        (rules.large_files, "x" * ((1 << 20) + 1)),
    ],
)
def test_what_must_not_be_in_the_repository_is_reported(
    tmp_path: Path, rule: Callable[[Path], list[str]], text: str
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    plant(tmp_path, "notes.txt", text)
    plant(tmp_path, "ignored/notes.txt", text)
    plant(tmp_path, ".gitignore", "ignored/\n")
    sentences = rule(tmp_path)
    assert len(sentences) == 1 and sentences[0].startswith("notes.txt")


def test_a_dependency_without_a_reason_is_reported(tmp_path: Path) -> None:
    plant(tmp_path, "pyproject.toml", '[project]\ndependencies = ["rich>=13", "typer"]\n')
    plant(tmp_path, "docs/DEPENDENCIES.md", "- typer: the command line, enriched\n")
    assert rules.dependencies(tmp_path) == ["docs/DEPENDENCIES.md: nothing about rich"]


def test_a_link_that_leads_nowhere_is_reported(tmp_path: Path) -> None:
    plant(tmp_path, "docs/A.md", "[b](B.md) [c](https://example.org) [top](#top)\n")
    assert rules.links(tmp_path) == ["docs/A.md: link to B.md leads nowhere"]


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    plant(tmp_path, "Makefile", "demo:\n\techo\n")
    plant(
        tmp_path,
        "README.md",
        "Say `make demo` or `make tea`.\n```\n$ quorate fs ls /\nquorate brew\n```\n",
    )
    assert rules.named_commands(tmp_path, lambda name: name == "fs ls") == [
        "README.md: make has no target tea",
        "README.md: quorate has no command brew",
    ]
