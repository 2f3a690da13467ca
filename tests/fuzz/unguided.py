"""The many inputs: ``python -m fuzz.unguided TARGET INPUTS SEED FOLDER``.

Mutations of the target's seeds and of what a guided run has left in ``FOLDER/corpus``.  Ends as
``fuzz.guided`` does: with a file for a crash, and 77.
"""

import sys
import traceback
from pathlib import Path

from fuzz.engine import random_run
from fuzz.targets import TARGETS


def main(name: str, inputs: str, seed: str, folder: str) -> int:
    corpus = sorted((Path(folder) / "corpus").glob("*"))
    found = [path.read_bytes() for path in corpus]
    result = random_run(TARGETS[name], int(inputs), int(seed), more=found)
    sys.stdout.write(f"Done {result.inputs} in {result.seconds:.0f} second(s)\n")
    for crash in result.crashes:
        sys.stdout.write("".join(traceback.format_exception(crash.error)))
        (Path(folder) / "crash-unguided").write_bytes(crash.data)
    return 77 if result.crashes else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
