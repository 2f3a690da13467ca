"""Coverage-guided runs with atheris: ``python -m fuzz.guided TARGET INPUTS SEED FOLDER``.

libFuzzer keeps every input that reaches a new edge of ours and mutates those; half of its mutations
are our own (mutator.py), which know how messages are built.  Only the product's modules are
instrumented, so nothing may import them before this module does.  The process ends as libFuzzer
does: with 77 if a crash was found, whose input lies in the folder.
"""

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["quorate"], enable_loader_override=False):
    from fuzz.targets import TARGETS

from fuzz.engine import INPUT_SECONDS, MAX_INPUT_BYTES
from fuzz.mutator import mutated

MUTATED = 0.5
"""The share of mutations that are ours."""


def main(name: str, inputs: str, seed: str, folder: str) -> None:
    """Never returns."""
    target = TARGETS[name]
    seeds = target.seeds()
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True)
    for number, data in enumerate(seeds):
        (corpus / f"{number:04d}").write_bytes(data)

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < MUTATED:
            return mutated(bytes(data), seeds, rng, target.framed)[:max_size]
        return bytes(atheris.Mutate(data, max_size))

    arguments = [
        sys.argv[0],
        f"-atheris_runs={inputs}",
        f"-seed={seed}",
        f"-artifact_prefix={folder}/",
        f"-timeout={INPUT_SECONDS}",
        f"-max_len={MAX_INPUT_BYTES}",
        "-rss_limit_mb=2048",
        str(corpus),
    ]
    atheris.Setup(arguments, target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
