"""What a learner's code did that is no broken promise of Raft, but wrong all the same."""

import traceback
from pathlib import Path

from quorate.simulator.lab.results import Broken


class CoreFailed(Broken):
    """The learner's code raised, never returned, or gave what the interface does not allow."""


def place_in(error: BaseException, file: Path) -> str:
    """``my_raft.py:31`` where ``error`` passed last through ``file``; the file alone if nowhere."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == file
    ]
    return f"{file.name}:{lines[-1]}" if lines else file.name
