"""Broken clusters of real local nodes, and what ``doctor`` and ``recover`` say of them.

::

    python bench/broken_clusters.py [majority-lost disk-swapped disk-cloned bit-flipped …]

Prints each command and its output, as a transcript.  A full disk is a small file system where the
script is run by root, and left out elsewhere; the clock is shifted inside the process.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from quorate.library.local import free_port

COMMAND = (sys.executable, "-m", "quorate.cli.main")
SHIFTED_CLOCK = """\
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {seconds}
time.time_ns = lambda: _time_ns() + {seconds} * 10**9
"""
SMALL_DISK_BYTES = 90 << 20


class Nodes:
    """Three nodes of one machine, each a ``quorate node`` of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        names = ("n1", "n2", "n3")
        for number, name in enumerate(names):
            port = self.port + 10 * number
            text = f'name = "{name}"\ndata_dir = "{name}"\n[addresses]\nrpc = "127.0.0.1:{port}"\n'
            text += f'chunkserver = "127.0.0.1:{port + 1}"\nworker = "127.0.0.1:{port + 2}"\n'
            for other, their_name in enumerate(names):
                door = f"127.0.0.1:{self.port + 10 * other}"
                text += f'[[nodes]]\nname = "{their_name}"\nrpc = "{door}"\n'
            (folder / f"{name}.toml").write_text(text)

    def bootstrap(self) -> None:
        cluster = ""
        for name in ("n1", "n2", "n3"):
            options = ("--cluster-id", cluster) if cluster else ()
            done = self.run("bootstrap", "--config", f"{name}.toml", "--json", *options)
            cluster = json.loads(done.stdout)["cluster"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"QUORATE_CLUSTER": f"127.0.0.1:{self.port}"}
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, name: str, path: Path | None = None) -> None:
        """Returns when it listens, or has ended with its sentence."""
        environment = dict(os.environ)
        if path is not None:
            environment["PYTHONPATH"] = f"{path}:{environment.get('PYTHONPATH', '')}"
        process = subprocess.Popen(
            [*COMMAND, "node", "--config", f"{name}.toml", "--json"],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=(self.folder / f"{name}.err").open("wb"),
        )
        assert process.stdout is not None
        if process.stdout.readline():
            self.running[name] = process
        else:
            process.wait()

    def start_all(self) -> None:
        for name in ("n1", "n2", "n3"):
            self.start(name)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait()

    def put(self, path: str) -> None:
        """Store a small file; waits for a leader."""
        source = self.folder / "text"
        source.write_text("nothing is lost\n")
        done = self.run("fs", "put", str(source), path)
        assert done.returncode == 0, done.stderr

    def show(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A line of the transcript, and what came of it."""
        print(f"$ quorate {' '.join(arguments)}")
        done = self.run(*arguments)
        print((done.stdout + done.stderr).rstrip())
        print(f"(exit code {done.returncode})\n", flush=True)
        return done

    def said(self, name: str) -> None:
        """What a node has written to standard error."""
        print(f"$ quorate node --config {name}.toml")
        print((self.folder / f"{name}.err").read_text().rstrip() + "\n", flush=True)

    def settled(self, name: str, verdict: int = 1) -> None:
        """Wait until the doctor finds leaders, with no group stopped; or nothing worse than
        ``verdict``."""
        for _ in range(20):
            if self.run("doctor", "--config", f"{name}.toml").returncode <= verdict:
                return
        raise AssertionError("not settled")

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name)


@contextlib.contextmanager
def three(folder: Path) -> Iterator[Nodes]:
    """Three nodes that run and hold a file; killed at the end."""
    nodes = Nodes(folder)
    try:
        nodes.bootstrap()
        nodes.start_all()
        nodes.put("/before")
        yield nodes
    finally:
        nodes.close()


def majority_lost(folder: Path) -> None:
    """n2 and n3 are killed, and their disks are gone."""
    with three(folder) as nodes:
        for name in ("n2", "n3"):
            nodes.kill(name)
            shutil.rmtree(folder / name)
        time.sleep(2)  # so that the doctor has something to tell
        nodes.show("doctor", "--config", "n1.toml")
        nodes.stop("n1")
        plan = nodes.show("recover", "--config", "n1.toml")
        nodes.show("recover", "--config", "n1.toml", "--execute", "00000000")
        match = re.search(r"--execute (\w+)", plan.stdout)
        assert match is not None
        nodes.show("recover", "--config", "n1.toml", "--execute", match[1])
        nodes.start("n1")
        nodes.settled("n1")
        nodes.show("fs", "cat", "/before")
        nodes.show("fs", "mkdir", "/after")
        nodes.show("fs", "ls", "/")
        nodes.show("doctor", "--config", "n1.toml")


def disk_swapped(folder: Path) -> None:
    """The disk of n2 was put into n3's machine."""
    with three(folder) as nodes:
        for name in ("n2", "n3"):
            nodes.stop(name)
        (folder / "n2").rename(folder / "other")
        (folder / "n3").rename(folder / "n2")
        (folder / "other").rename(folder / "n3")
        nodes.start("n3")
        nodes.said("n3")
        nodes.show("doctor", "--config", "n3.toml")


def disk_cloned(folder: Path) -> None:
    """The disk of n3 was copied, and both copies run."""
    with three(folder) as nodes:
        nodes.stop("n3")
        shutil.copytree(folder / "n3", folder / "copy")
        text = (folder / "n3.toml").read_text().replace('data_dir = "n3"', 'data_dir = "copy"')
        for number in range(3):
            text = text.replace(f":{nodes.port + 20 + number}", f":{nodes.port + 30 + number}")
        (folder / "copy.toml").write_text(text)
        nodes.start("n3")
        nodes.start("copy")
        nodes.settled("n1")
        time.sleep(4)
        nodes.show("doctor", "--config", "n1.toml")


def bit_flipped(folder: Path) -> None:
    """One bit of n3's log is not what was written; n3 is rebuilt from the others by itself."""
    with three(folder) as nodes:
        for number in range(3):
            nodes.put(f"/file-{number}")
        nodes.stop("n3")
        segment = sorted((folder / "n3" / "raft" / "log").glob("*.seg"))[-1]
        data = bytearray(segment.read_bytes())
        data[2 * 512 + 77] ^= 0x10
        segment.write_bytes(data)
        nodes.show("doctor", "--config", "n3.toml")
        nodes.start("n3")
        nodes.settled("n3", 0)
        nodes.said("n3")
        nodes.show("doctor", "--config", "n3.toml")
        nodes.show("cluster", "members")
        nodes.show("fs", "cat", "/file-0")


def clock_wrong(folder: Path) -> None:
    """The wall clock of n3 is an hour ahead."""
    with three(folder) as nodes:
        nodes.stop("n3")
        shifted = folder / "shifted"
        shifted.mkdir()
        (shifted / "sitecustomize.py").write_text(SHIFTED_CLOCK.format(seconds=3600))
        nodes.start("n3", shifted)
        nodes.settled("n1")
        nodes.show("doctor", "--config", "n1.toml")


def disk_full(folder: Path) -> None:
    """The disk of n3 is full; then n3 is started again."""
    mounted = folder / "n3"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(mounted)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        print("(no small file system can be made here: run this as root)\n", flush=True)
        return
    try:
        with three(folder) as nodes:
            with contextlib.suppress(OSError), (mounted / "ballast").open("wb") as file:
                while True:
                    file.write(bytes(1 << 20))
            nodes.show("doctor", "--config", "n1.toml")
            nodes.stop("n3")
            nodes.start("n3")
            nodes.said("n3")
            nodes.put("/after")
            nodes.show("doctor", "--config", "n3.toml")
            (mounted / "ballast").unlink()
            nodes.start("n3")
            nodes.put("/later")
            nodes.show("doctor", "--config", "n3.toml")
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


CLUSTERS: dict[str, Callable[[Path], None]] = {
    "majority-lost": majority_lost,
    "disk-swapped": disk_swapped,
    "disk-cloned": disk_cloned,
    "bit-flipped": bit_flipped,
    "clock-wrong": clock_wrong,
    "disk-full": disk_full,
}


def main() -> None:
    """Break those that are named, or all."""
    for name in sys.argv[1:] or CLUSTERS:
        print(f"=== {name}: {CLUSTERS[name].__doc__}\n", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            CLUSTERS[name](Path(folder))


if __name__ == "__main__":
    main()
