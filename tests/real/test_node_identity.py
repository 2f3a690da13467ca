"""Machines that do not belong together notice it, over TLS as well."""

import json
import select
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from local_nodes import COMMAND, PATIENCE_SECONDS, quorate
from real.test_rpc_tls import make_authority, make_paths

from quorate.library.local import free_port
from quorate.runtime.real.tls import tls_contexts

NAMES = ("a", "b", "c")


def write_config(folder: Path, name: str, port: int, names: tuple[str, ...], more: str) -> str:
    """The configuration of machine ``name``; the i-th listens from ``port + 10 * i``."""
    own = port + 10 * names.index(name)
    text = f'name = "{name}"\ndata_dir = "{name}"\n[addresses]\nrpc = "127.0.0.1:{own}"\n'
    text += f'chunkserver = "127.0.0.1:{own + 1}"\nworker = "127.0.0.1:{own + 2}"\n{more}'
    for position, other in enumerate(names):
        text += f'[[nodes]]\nname = "{other}"\nrpc = "127.0.0.1:{port + 10 * position}"\n'
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def bootstrap(config: str, cluster: str = "") -> str:
    """Found a machine; the cluster's id."""
    options = ("--cluster-id", cluster) if cluster else ()
    done = quorate("bootstrap", "--config", config, "--json", *options)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["cluster"])


@contextmanager
def node(config: str) -> Iterator[subprocess.Popen[str]]:
    """``quorate node``, listening; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, "node", "--config", config, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE_SECONDS)[0]
        assert json.loads(process.stdout.readline())["processes"]
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_machine_of_another_cluster_ends_with_a_sentence_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    port = free_port()
    configs = [write_config(tmp_path, name, port, NAMES, "") for name in NAMES]
    cluster = bootstrap(configs[0])
    bootstrap(configs[1], cluster)
    bootstrap(configs[2])  # by mistake
    with ExitStack() as running:
        first, _ = (running.enter_context(node(config)) for config in configs[:2])
        stranger = quorate("node", "--config", configs[2])
        assert stranger.returncode == 3
        assert "2 of the 2 other machines refuse this one" in stranger.stderr
        assert cluster in stranger.stderr and stranger.stderr.count("\n") == 1
        text = tmp_path / "text"
        text.write_text("to be\n")
        assert quorate("fs", "put", str(text), "/text", port=port).returncode == 0
        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE_SECONDS) == 0


def test_a_machine_with_tls_is_reached_with_a_certificate_and_not_without(tmp_path: Path) -> None:
    port = free_port(1)
    authority = make_authority("ours")
    machine = make_paths(tmp_path, "machine", authority, authority)
    user = make_paths(tmp_path, "user", authority, authority)
    tls = f'[tls]\nca = "{machine.ca}"\ncert = "{machine.cert.name}"\nkey = "{machine.key}"\n'
    config = write_config(tmp_path, "a", port, ("a",), tls)
    bootstrap(config)
    (tmp_path / "job.py").write_text(
        "def map(key, value):\n    yield value, 1\n\n"
        "def reduce(key, values):\n    yield key, sum(values)\n"
    )
    options = ("--tls-ca", str(user.ca), "--tls-cert", str(user.cert), "--tls-key", str(user.key))
    with node(config):
        job = str(tmp_path / "job.py")
        assert quorate("fs", "put", job, "/input", port=port).returncode == 6
        assert quorate("fs", "put", *options, job, "/input", port=port).returncode == 0
        done = quorate("run", *options, job, "/input", "--output", "/out", port=port)
        assert done.returncode == 0, done.stderr
        part = quorate("fs", "cat", *options, "/out/part-00000", port=port)
        assert "def reduce(key, values):\t1\n" in part.stdout

        figures = f"https://127.0.0.1:{port + 3}/metrics"
        with urllib.request.urlopen(figures, context=tls_contexts(user).client) as page:
            assert b'quorate_up{role="raft"} 1.0' in page.read()
        stranger = ssl._create_unverified_context()
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            urllib.request.urlopen(figures, context=stranger, timeout=10)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(figures.replace("https", "http"), timeout=10)
