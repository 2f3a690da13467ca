"""What a planted bug is: patches that a context manager puts in and takes out again."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from quorate.base.check import check


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """A bug that can be put into the product and taken out again."""

    name: str
    story: str
    """What somebody might have written."""
    patches: tuple[tuple[Any, str, Any], ...]
    """Owner, attribute, replacement."""
    workload: str = "lists"
    """What catches it (simulator/run.py)."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The product with this bug in it."""
        with ExitStack() as stack:
            for owner, name, replacement in self.patches:
                original = owner.__dict__.get(name)
                check(original is not None, f"{owner.__name__}.{name} is gone: mend this bug")
                stack.callback(setattr, owner, name, original)
                setattr(owner, name, replacement)
            yield
