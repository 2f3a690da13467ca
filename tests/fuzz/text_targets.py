"""Text from users and files: configuration, paths, addresses, patterns, job files."""

import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from fuzz.target import Target, expect

from quorate.base.errors import BadConfiguration, BadInput
from quorate.base.ids import Address
from quorate.gfs.core.paths import join, split
from quorate.gfs.glob import literal_prefix, matches, name_matches
from quorate.library.connection import seeds_of
from quorate.mapreduce.job_file import check_source
from quorate.node.config import load
from quorate.runtime.real.network import is_loopback, split_address

CONFIG = b"""
name = "n1"
data_dir = "data"
[addresses]
rpc = "127.0.0.1:7400"
chunkserver = "127.0.0.1:7401"
worker = "127.0.0.1:7402"
metrics = "127.0.0.1:7403"
[[nodes]]
name = "n1"
rpc = "127.0.0.1:7400"
[[nodes]]
name = "n2"
rpc = "[::1]:7410"
[tls]
ca = "ca.pem"
cert = "n1.pem"
key = "n1.key"
[worker]
tasks = 2
[raft]
heartbeat_interval_ms = 100
election_timeout_ms = 1000
"""

_folder = Path(tempfile.gettempdir())


class _File(type(_folder)):  # type: ignore[misc]
    """A configuration file whose bytes are the input: ``load`` meets it as any other."""

    content: bytes = b""

    def read_bytes(self) -> bytes:
        return self.content

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return self.content.decode("utf-8")


def _config(data: bytes) -> None:
    file = _File(_folder / "node.toml")
    _File.content = data
    with suppress(BadConfiguration):
        config = load(file)
        expect(Path(config.data_dir).is_absolute(), "a relative data directory")
        expect("\0" not in config.data_dir, "a data directory that cannot be")
        for address in config.role_addresses().values():
            split_address(address)
        expect(0 < config.worker.tasks <= 1024, "tasks without bound")
        float(config.raft.election_timeout_ms)


def _texts(data: bytes) -> list[str]:
    return [data.decode("utf-8", "replace"), data.decode("utf-8", "surrogateescape")]


def _path(data: bytes) -> None:
    for text in _texts(data):
        with suppress(BadInput):
            expect(join(split(text)) == text, "a path has a second spelling")
            expect(".." not in split(text), "a path leaves its folder")


def _pattern(data: bytes) -> None:
    """``PATTERN NEWLINE PATH``: matching ends, whatever the pattern is."""
    pattern, _, path = data.decode("utf-8", "replace").partition("\n")
    parts = pattern.split("/")[:30]
    literal_prefix(parts)
    matches(path.split("/")[:30], parts)
    name_matches(path[:300], pattern[:300])


def _address(data: bytes) -> None:
    for text in _texts(data):
        with suppress(BadInput):
            host, port = split_address(Address(text))
            expect(0 <= port < 65536, "no port")
            is_loopback(host)
            host.encode("idna")  # what a resolver does with it
            expect("\0" not in host, "no host")
        with suppress(BadInput):
            expect(seeds_of([text]), "no seed")


def _job_file(data: bytes) -> None:
    with suppress(BadInput), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_source(quote(data[:10]), data)


WORDS = b"""
def map(key, value):
    yield value, 1

def reduce(key, values):
    yield key, sum(values)
"""
PATHS = [b"/", b"/a/b.txt", "/ééé/x".encode()]
PATTERNS = [b"/a/**/*.t[xy]t\n/a/b/c.txt", b"*a*?\nbanana"]
ADDRESSES = [b"127.0.0.1:7400", b"[::1]:80", b"host,a:1,b:2"]

TARGETS = [
    Target("node.config", _config, lambda: [CONFIG, CONFIG.partition(b"[tls]")[0]]),
    Target("gfs.path", _path, lambda: PATHS, weight=2),
    Target("gfs.pattern", _pattern, lambda: PATTERNS, weight=2),
    Target("address", _address, lambda: ADDRESSES, weight=2),
    Target("mapreduce.job_file", _job_file, lambda: [WORDS], weight=2),
]
