"""All benches, one after the other: printed, and kept in ``bench/results/``.

    make bench

The figures of a shared machine move: read CPU before wall time, and ratios within one run first.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BENCHES = (
    "idle",
    "wal",
    "state",
    "rpc",
    "appends",
    "words",
    "linearizability",
    "idle_groups",
    "kv",
    "failover",
    "snapshots",
    "kv_memory",
    "kv_labs",
    "kv_disk",
    "kv_big",
)


def machine() -> str:
    """The processor, its cores, and how busy they are."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    model = models[0] if models else platform.processor()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} × {model}, Python {platform.python_version()}, load {load}"


def commit() -> str:
    """Short, with a + if the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty=+"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=HERE)
    return done.stdout.strip() or "unknown"


def main() -> None:
    (HERE / "results").mkdir(exist_ok=True)
    at = time.strftime("%Y-%m-%d-%H%M")
    kept = HERE / "results" / f"{at}-{commit()}.txt"
    failed = []
    with kept.open("w") as file:

        def say(text: str) -> None:
            print(text, end="", flush=True)
            file.write(text)

        say(f"commit {commit()}, {at}\n{machine()}\n")
        for name in sys.argv[1:] or BENCHES:
            say(f"\n== {name}\n")
            command = [sys.executable, str(HERE / f"{name}.py")]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                for line in child.stdout or ():
                    say(line)
            if child.returncode:
                failed.append(name)
    print(f"\nkept in {kept.relative_to(HERE.parent)}")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
