"""The checker of histories: seconds for 10,000 operations by 20 clients.

    .venv/bin/python bench/linearizability.py

The clients play on a correct object, each all the time within a call; of every hundred operations
two get no answer, and half of these took effect.  "wrong" is the same history with one result near
its end that nobody could have seen.  "unique" values are written once; "few" are five, so that
many operations can take each other's place.  The last key takes all: twenty clients in each other's
way at every moment, which real histories seldom show.  A row that says Unknown was given up.
"""

import random
import sys
import time
from pathlib import Path

from quorate.linearizability.history import Operation, Outcome
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from histories import made

CLIENTS, OPERATIONS = 20, 10_000
LIMIT_S = 10.0
VALUES = {"unique": 1_000_000, "few": 5}
SHAPES = [
    (keys, lost, wrong) for keys in (100, 5, 1) for lost in (0.0, 0.02) for wrong in (False, True)
]


def history(model: str, keys: int, values: str, lost: float, wrong: bool) -> list[Operation]:
    """Drawn from a fixed seed."""
    found = made(
        model,
        random.Random(1),
        clients=CLIENTS,
        count=OPERATIONS,
        keys=keys,
        values=VALUES[values],
        lost=lost,
    )
    if wrong:
        looks = ("read", "get", "release")
        ok = (o for o in found[9_000:] if o.outcome is Outcome.OK and o.f in looks)
        late = next(ok)
        late.process, late.result = "somebody else", "what nobody wrote"
    return found


def main() -> None:
    print(f"{OPERATIONS:,} operations by {CLIENTS} clients; given up after {LIMIT_S:.0f} s")
    print("model     values   keys  no answer           verdict   CPU s     steps")
    for model in MODELS:
        for values in VALUES if model != "lock" else ("unique",):
            for keys, lost, wrong in SHAPES:
                drawn = history(model, keys, values, lost, wrong)
                began = time.process_time()
                judgement = check_history(
                    MODELS[model],
                    drawn,
                    lambda steps, began=began: time.process_time() - began > LIMIT_S,
                )
                spent = time.process_time() - began
                print(
                    f"{model:9} {values:7} {keys:5d} {lost:10.0%} {'wrong' if wrong else '':8}"
                    f" {judgement.verdict.value:>8} {spent:7.2f} {judgement.steps:9,d}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
