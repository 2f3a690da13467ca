"""Finding the function a task process serves, by its name ``"module:name"``."""

import importlib
from typing import cast

from quorate.base.check import check
from quorate.runtime.ports import TaskFunction


def load_function(name: str) -> TaskFunction:
    """Import ``"module:name"``.  The name is ours, never a user's or a peer's."""
    module, separator, attribute = name.partition(":")
    check(separator and module and attribute, f"not a function's name: {name!r}")
    function = getattr(importlib.import_module(module), attribute, None)
    check(callable(function), f"no function {name!r}")
    return cast(TaskFunction, function)
