"""Finding a core: by the name of one that ships with the lab, or a file of the user's.

The file is imported, and so is run, with all the rights of whoever called us: that is what the user
asks for by naming it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from quorate.base.errors import BadInput
from quorate.simulator.lab import cores
from quorate.simulator.lab.errors import place_in

SHIPPED = (
    "reference",
    "simple",
    "commits_old_terms",
    "forgets_its_vote",
    "truncates_on_every_append",
)
METHODS = ("start", "state", "snapshot", "on_request", "on_reply", "on_timer")
MODULE = "learners_core"
"""The name under which the file is imported, so that its classes can be copied."""


class Core(NamedTuple):
    """A class that servers are made of, and where it is."""

    name: str
    """As the user gave it."""
    file: Path
    make: Callable[..., Any]

    @property
    def tells(self) -> bool:
        """Whether it has ``timeline()``."""
        return callable(getattr(self.make, "timeline", None))


def load_core(name: str) -> Core:
    """The class ``Raft`` of a shipped core or of a file."""
    if name in SHIPPED:
        module = importlib.import_module(f"{cores.__name__}.{name}")
        return Core(name, Path(str(module.__file__)), module.Raft)
    file = Path(name)
    if not file.is_file():
        raise BadInput(
            f"There is no file {name}: name a Python file, or one of {', '.join(SHIPPED)};"
            " 'quorate lab raft --new my_raft.py' writes one to begin with."
        )
    make = getattr(_imported(file), "Raft", None)
    if not isinstance(make, type):
        raise BadInput(f"{name} has no class Raft: docs/LAB.md says what it must have.")
    missing = [method for method in METHODS if not callable(getattr(make, method, None))]
    if missing:
        raise BadInput(f"The class Raft in {name} has no method {', '.join(missing)}.")
    return Core(name, file.resolve(), make)


def _imported(file: Path) -> Any:
    path = file.resolve()
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{file} cannot be imported: its name must end with .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    sys.path.insert(0, str(path.parent))  # it may be more than one file
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        place = f"{Path(error.filename or path).name}:{error.lineno}"
        raise BadInput(f"{file} is not Python: {error.msg} at {place}.") from None
    except (Exception, SystemExit) as error:
        raise BadInput(
            f"{file} cannot be imported: {type(error).__name__} at {place_in(error, path)}:"
            f" {error or 'no reason given'}."
        ) from None
    finally:
        sys.path.remove(str(path.parent))
    return module
