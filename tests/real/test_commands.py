"""The commands as a user types them, against one real node: what they print and end with."""

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_nodes import COMMAND, PATIENCE_SECONDS, is_running, quorate, up

from quorate.cli import main
from quorate.library.local import free_port

WORD_COUNT = """
def map(key, value):
    for word in value.split():
        yield word, 1

def reduce(key, values):
    yield key, sum(values)
"""


class Shell:
    """A user with a running cluster.  Commands run in this process, which saves their start."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.options = ("--cluster", f"127.0.0.1:{port}")

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command."""
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("QUORATE_CLUSTER", f"127.0.0.1:{self._port}")
            patch.setattr(sys, "argv", ["quorate", *arguments])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = main.run()
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()

    def ok(self, *arguments: str) -> str:
        """The output of a command that succeeds and complains of nothing."""
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    def fails(self, *arguments: str) -> tuple[int, str]:
        """Exit code and sentence of a command that fails and prints nothing else."""
        code, out, err = self.run(*arguments)
        assert out == ""
        assert err.startswith("quorate: ")
        return code, err


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A cluster of one node."""
    port = free_port(1)
    directory = tmp_path_factory.mktemp("one") / "cluster"
    with up(directory, "--nodes", "1", "--port", str(port)) as cluster:
        assert cluster.ready, cluster.ended()
        yield Shell(port)
        assert cluster.stop() == (0, "")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree of local files."""
    for name, text in {"a.txt": "a b\n", "sub/b.txt": "b\n", "sub/deep/c": "", "d.md": "d"}.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    return tmp_path / "tree"


def test_a_tree_comes_back_as_it_was_stored(shell: Shell, tree: Path, tmp_path: Path) -> None:
    shell.ok("fs", "put", "-r", str(tree), "/tree")
    shell.ok("fs", "get", "-r", "/tree", str(tmp_path / "back"))
    found = sorted((tmp_path / "back").rglob("*"))
    assert [path.relative_to(tmp_path / "back") for path in found] == [
        path.relative_to(tree) for path in sorted(tree.rglob("*"))
    ]
    for path in found:
        if path.is_file():
            original = tree / path.relative_to(tmp_path / "back")
            assert path.read_bytes() == original.read_bytes()


def test_an_existing_directory_takes_a_file_under_its_name(shell: Shell, tree: Path) -> None:
    shell.ok("fs", "mkdir", "-p", "/into/here")
    shell.ok("fs", "put", str(tree / "a.txt"), str(tree / "d.md"), "/into/here")
    assert shell.ok("fs", "cat", "/into/here/a.txt", "/into/here/d.md") == "a b\nd"
    shell.ok("fs", "mv", "/into/here/a.txt", "/into")
    names = [entry["name"] for entry in json.loads(shell.ok("fs", "ls", "/into", "--json"))]
    assert names == ["a.txt", "here"]
    shell.ok("fs", "rm", "-r", "/into")
    assert shell.fails("fs", "ls", "/into")[0] == 4


def test_ls_and_stat_say_what_a_program_needs(shell: Shell, tree: Path) -> None:
    shell.ok("fs", "put", str(tree / "a.txt"), "/said.txt")
    said = {"name": "said.txt", "path": "/said.txt", "type": "file", "size": 4}
    assert json.loads(shell.ok("fs", "ls", "/said.txt", "--json")) == [said]
    facts = json.loads(shell.ok("fs", "stat", "/said.txt", "--json"))
    assert facts.items() >= said.items()
    assert (facts["chunks"], facts["replicas_wanted"]) == (1, 3)
    assert re.search(r"^file +4 bytes +/said\.txt$", shell.ok("fs", "ls", "/"), re.MULTILINE)


def test_what_cannot_be_stored_or_fetched_is_a_sentence(
    shell: Shell, tree: Path, tmp_path: Path
) -> None:
    shell.ok("fs", "put", str(tree / "a.txt"), "/taken")
    for arguments, code in {
        ("fs", "put", str(tree / "a.txt"), "/taken"): 5,
        ("fs", "put", str(tree), "/tree2"): 2,
        ("fs", "put", str(tmp_path / "none"), "/x"): 2,
        ("fs", "put", str(tree / "a.txt"), str(tree / "d.md"), "/no-directory"): 2,
        ("fs", "put", str(tree / "a.txt"), "relative"): 2,
        ("fs", "get", "/taken", str(tree / "a.txt")): 5,
        ("fs", "get", "/none", str(tmp_path / "x")): 4,
        ("fs", "get", "/", str(tmp_path / "x")): 2,
        ("fs", "cat", "/none"): 4,
        ("fs", "rm", "/none"): 4,
        ("fs", "mkdir", "/taken"): 5,
        ("fs", "mv", "/none", "/y"): 4,
        ("status", "--cluster", "nowhere"): 2,
        ("status", "--tls-ca", "ca.pem"): 2,
        ("status", "--cluster", "127.0.0.1:1"): 6,
    }.items():
        assert shell.fails(*arguments)[0] == code, arguments
    assert (tree / "a.txt").read_text() == "a b\n"
    assert not list(tmp_path.glob("**/*.part"))


def test_a_job_runs_and_says_where_its_output_is(shell: Shell, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(WORD_COUNT)
    shell.ok("fs", "put", "-r", str(tree), "/words")
    job = str(tmp_path / "count.py")
    inputs = ("/words/*.txt", "/words/sub")
    code, out, err = shell.run("run", job, *inputs, "--output=/count", "--reduces=1", "--json")
    assert code == 0 and "map 1/1, reduce 1/1" in err
    done = json.loads(out)
    assert (done["state"], done["output"], done["reduces"]) == ("done", "/count", 1)
    assert shell.ok("fs", "cat", "/count/part-00000") == "a\t1\nb\t2\n"


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("import nothing_of_that_name\n" + WORD_COUNT, 9, "nothing_of_that_name"),
        ("def reduce(key, values):\n    yield key, 1\n", 2, "map"),
        ("def map(:\n", 2, "line 1"),
        (WORD_COUNT.replace("value.split()", "[1 / 0]"), 9, "ZeroDivisionError"),
        (WORD_COUNT.replace("value.split()", "[1 / 0]"), 9, "a b"),
    ],
    ids=["import", "no map", "syntax", "raises", "the record"],
)
def test_a_job_that_cannot_be_run_says_why(
    shell: Shell, tree: Path, tmp_path: Path, source: str, code: int, words: str
) -> None:
    job = tmp_path / "bad.py"
    job.write_text(source)
    where = f"/input-{tmp_path.name}"
    shell.ok("fs", "put", str(tree / "a.txt"), where)
    status, out, err = shell.run("run", str(job), where, "--output", f"{where}-out")
    assert (status, out) == (code, "")
    assert words in err
    assert "cli/main.py" not in err, "a traceback is the job's, not ours"
    assert shell.fails("fs", "stat", f"{where}-out")[0] == 4


def test_a_job_with_missing_input_or_existing_output_is_a_sentence(
    shell: Shell, tree: Path, tmp_path: Path
) -> None:
    job = tmp_path / "count.py"
    job.write_text(WORD_COUNT)
    shell.ok("fs", "put", str(tree / "a.txt"), "/here/input")
    assert shell.fails("run", str(job), "/none/*", "--output", "/o")[0] == 4
    assert shell.fails("run", str(job), "/here", "--output", "/here")[0] == 5
    assert shell.fails("run", str(tmp_path / "none.py"), "/here", "--output", "/o")[0] == 2


def test_ctrl_c_cancels_the_job(shell: Shell, tree: Path, tmp_path: Path) -> None:
    job = tmp_path / "endless.py"
    job.write_text("import threading\n" + WORD_COUNT.replace("1\n", "threading.Event().wait()\n"))
    shell.ok("fs", "put", str(tree / "a.txt"), "/endless/input")
    run = subprocess.Popen(
        [*COMMAND, "run", str(job), "/endless", "--output", "/endless-out", *shell.options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert run.stderr is not None and "map 0/1" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=PATIENCE_SECONDS)
        assert (run.returncode, errors.count("\n")) == (130, 1)
        assert "is cancelled" in errors
    finally:
        run.kill()
        run.communicate()
    assert shell.fails("fs", "stat", "/endless-out")[0] == 4


def config_in(folder: Path, second: str = "b") -> Path:
    """The configuration of the first of two machines."""
    port = free_port(2)
    path = folder / "a.toml"
    path.write_text(
        f'name = "a"\ndata_dir = "data"\n[addresses]\nrpc = "127.0.0.1:{port}"\n'
        f'chunkserver = "127.0.0.1:{port + 1}"\nworker = "127.0.0.1:{port + 2}"\n'
        f'[[nodes]]\nname = "a"\nrpc = "127.0.0.1:{port}"\n'
        f'[[nodes]]\nname = "{second}"\nrpc = "127.0.0.1:{port + 10}"\n'
    )
    return path


def test_two_nodes_of_one_name_are_a_sentence(tmp_path: Path) -> None:
    done = quorate("node", "--config", str(config_in(tmp_path, second="a")))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "'a' is given to two nodes" in done.stderr


def test_a_machine_is_bootstrapped_by_its_user_and_never_by_itself(tmp_path: Path) -> None:
    config = str(config_in(tmp_path))
    done = quorate("node", "--config", config)
    assert done.returncode == 3 and "never bootstraps by itself" in done.stderr
    drawn = json.loads(quorate("bootstrap", "--config", config, "--json").stdout)["cluster"]
    again = quorate("bootstrap", "--config", config, "--cluster-id", drawn)
    assert again.returncode == 3 and "bootstrapped once" in again.stderr

    node = subprocess.Popen(
        [*COMMAND, "node", "--config", config, "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert node.stdout is not None
        processes = json.loads(node.stdout.readline())["processes"]
        assert [process["role"] for process in processes] == ["raft", "chunkserver", "worker"]
        node.send_signal(signal.SIGTERM)
        assert node.wait(PATIENCE_SECONDS) == 0
        assert not any(is_running(process["pid"]) for process in processes)
    finally:
        node.kill()
        node.communicate()
