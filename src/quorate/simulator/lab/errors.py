"""What a learner's code did that is no broken promise of Raft, but wrong all the same."""

from pathlib import Path
from types import TracebackType

from quorate.simulator.lab.results import Broken


class CoreFailed(Broken):
    """The learner's code raised, never returned, or gave what the interface does not allow."""

    def __init__(self, sentence: str, where: TracebackType | None = None) -> None:
        super().__init__(sentence)
        self.where = where
        """The learner's line, if it is one line's fault."""


def place_in(error: BaseException, file: Path) -> str:
    """``my_raft.py:31`` where ``error`` passed last through ``file``; the file alone if nowhere."""
    where = last_in(error, file)
    return f"{file.name}:{where.tb_lineno}" if where is not None else file.name


def last_in(error: BaseException, file: Path) -> TracebackType | None:
    """Where ``error`` passed last through ``file``."""
    found, step = None, error.__traceback__
    while step is not None:
        if Path(step.tb_frame.f_code.co_filename) == file:
            found = step
        step = step.tb_next
    return found
