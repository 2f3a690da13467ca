"""This checkout keeps the rules of its own tree (DESIGN §4 and §7)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tidy import arrows, rules

from quorate.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "rule",
    [
        rules.sizes,
        rules.docstrings,
        rules.assertions,
        rules.machine_paths,
        rules.registries,
        rules.large_files,
        rules.dependencies,
        rules.links,
        arrows.cores,
        arrows.services,
        arrows.neighbours,
        arrows.roles,
    ],
)
def test_the_tree_keeps_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert "\n".join(rule(ROOT)) == ""


def has_command(name: str) -> bool:
    """Whether ``quorate`` has the command of that name (``"status"``, ``"fs put"``)."""
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = getattr(command, "commands", {}).get(word)
    return command is not None


def test_documents_name_only_commands_that_exist() -> None:
    assert "\n".join(rules.named_commands(ROOT, has_command)) == ""


def test_readme_names_every_make_target() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = ["setup", "demo", "test", "lint", "sim", "labs", "planted", "fuzz", "bench", "clean"]
    assert [target for target in targets if f"make {target}" not in readme] == []
