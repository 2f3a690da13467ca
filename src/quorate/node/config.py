"""The configuration of one machine: a TOML file, checked whole before anything is started.

::

    name = "n1"
    data_dir = "data"                      # relative to this file

    [addresses]                            # where this machine's processes listen
    rpc = "10.0.0.1:7400"                  # Raft groups, master of the files, job coordinator
    chunkserver = "10.0.0.1:7401"
    worker = "10.0.0.1:7402"
    metrics = "127.0.0.1:7403"             # figures over HTTP; this is the default: on loopback,
                                           # the port after the highest of the others
    resp = "127.0.0.1:7404"                # for clients of Redis; the default is the port after

    [[nodes]]                              # all machines of the cluster, this one too
    name = "n1"
    rpc = "10.0.0.1:7400"

    [tls]                                  # needed as soon as an address is off loopback
    ca = "ca.pem"
    cert = "n1.pem"
    key = "n1.key"

    [worker]
    tasks = 2                              # map and reduce tasks at once; default: the cores

    [raft]
    heartbeat_interval_ms = 100
    election_timeout_ms = 600
    lease = false
    max_clock_drift = 0.1

    [kv]
    password = ""                          # what Redis clients must give; default: none
    max_clients = 20000

Every mistake is one ``BadConfiguration`` that names the file and the key.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from quorate.base.errors import BadConfiguration, BadInput
from quorate.base.ids import Address
from quorate.raft.core.configuration import NAME
from quorate.raft.core.settings import Timing
from quorate.runtime.real.network import is_loopback, split_address
from quorate.runtime.real.tls import TlsPaths

MAX_TASKS = 1024
MAX_CLIENTS = 1_000_000
MAX_ELECTION_TIMEOUT_MS = 3_600_000
MAX_PORT = 65_535
DEFAULTED = ("metrics", "resp")
"""Addresses that a file need not give."""
NAME_RULE = "use letters, digits, '.', '_' and '-'"


class Addresses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the processes of this machine listen, by role."""

    rpc: str
    chunkserver: str
    worker: str
    metrics: str = ""
    """Over HTTP, of the whole machine; ``load`` fills it in."""
    resp: str = ""
    """The key/value store for clients of Redis; ``load`` fills it in."""


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One machine of the cluster and the door by which the others reach it."""

    name: str
    rpc: str


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Certificate authority, own certificate and key: PEM files."""

    ca: str
    cert: str
    key: str


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Map and reduce tasks that run at once on this machine."""

    tasks: int = msgspec.field(default_factory=lambda: os.cpu_count() or 1)


class KvSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key/value store of this machine."""

    password: str = ""
    """That Redis clients must give; empty: none."""
    max_clients: int = 20_000


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One machine's configuration as it was checked; ``data_dir`` and TLS paths are absolute."""

    name: str
    data_dir: str
    addresses: Addresses
    nodes: tuple[Member, ...]
    tls: TlsSettings | None = None
    worker: WorkerSettings = WorkerSettings()
    raft: Timing = Timing()
    """The same on all machines of a cluster."""
    kv: KvSettings = KvSettings()

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir)

    def disk_path(self, role: str) -> Path:
        """The directory of the process of ``role``."""
        return self.data_path / role

    @property
    def tls_paths(self) -> TlsPaths | None:
        if self.tls is None:
            return None
        return TlsPaths(Path(self.tls.ca), Path(self.tls.cert), Path(self.tls.key))

    def role_addresses(self) -> dict[str, Address]:
        """Each role of a machine, and where its process listens."""
        return {
            "raft": Address(self.addresses.rpc),
            "chunkserver": Address(self.addresses.chunkserver),
            "worker": Address(self.addresses.worker),
        }


def load(path: Path) -> NodeConfig:
    """The configuration in ``path``; raises ``BadConfiguration`` for the first mistake."""
    try:
        return configuration_of(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{path} is not TOML: {error}.") from error


def configuration_of(text: str, path: Path) -> NodeConfig:
    """As ``load``, of what ``path`` holds or is to hold."""
    try:
        config = msgspec.convert(_parsed(path, text), NodeConfig)
    except msgspec.ValidationError as error:
        raise BadConfiguration(f"{path}: {_sentence(str(error))}.") from error
    _check(path, config)
    for role in DEFAULTED:
        config = _with_address(path, config, role)
    return _with_absolute_paths(path.resolve().parent, config)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadConfiguration(f"{path} is not TOML: {error}.") from error


def _sentence(complaint: str) -> str:
    """msgspec's complaint, ``Object contains unknown field `x` - at `$.tls```, in our words."""
    what, _, place = complaint.partition(" - at ")
    section = place.strip("`").removeprefix("$").removeprefix(".")
    if match := re.search(r"(missing required|contains unknown) field `(\w+)`", what):
        key = f"{section}.{match[2]}" if section else match[2]
        return f"the key {key} is {'missing' if match[1].startswith('missing') else 'not known'}"
    return f"the key {section or '(top)'} does not fit: {what[0].lower()}{what[1:]}"


def _check(path: Path, config: NodeConfig) -> None:
    """What types cannot say."""

    def refuse(key: str, why: str) -> None:
        raise BadConfiguration(f"{path}: {key} {why}.")

    names = [node.name for node in config.nodes]
    for name in names:
        if not NAME.fullmatch(name):
            refuse("nodes.name", f"{name!r} is not a name: {NAME_RULE}")
        if names.count(name) > 1:
            refuse("nodes.name", f"{name!r} is given to two nodes: each needs its own")
    if config.name not in names:
        refuse("name", f"{config.name!r} is not among the [[nodes]] ({', '.join(names) or 'none'})")

    places = {f"addresses.{key}": value for key, value in _own(config).items()}
    places |= {f"nodes.rpc of {node.name}": node.rpc for node in config.nodes}
    for key, address in places.items():
        if not _is_loopback(path, key, address) and config.tls is None:
            refuse(
                key,
                f"{address!r} is off loopback, which needs mutual TLS: add [tls] with ca, cert"
                " and key",
            )
    _refuse_twice(path, _own(config), "addresses")
    _refuse_twice(path, {node.name: node.rpc for node in config.nodes}, "nodes.rpc")
    entry = next(node for node in config.nodes if node.name == config.name)
    if entry.rpc.rpartition(":")[2] != config.addresses.rpc.rpartition(":")[2]:
        refuse(
            "addresses.rpc",
            f"{config.addresses.rpc!r} has another port than {config.name!r} has in [[nodes]]"
            f" ({entry.rpc})",
        )
    if not 1 <= config.worker.tasks <= MAX_TASKS:
        refuse("worker.tasks", f"must be 1 to {MAX_TASKS}")
    if not 1 <= config.kv.max_clients <= MAX_CLIENTS:
        refuse("kv.max_clients", f"must be 1 to {MAX_CLIENTS}")
    times = config.raft
    if times.heartbeat_interval_ms < 1:
        refuse("raft.heartbeat_interval_ms", "must be at least 1")
    if not 3 * times.heartbeat_interval_ms <= times.election_timeout_ms <= MAX_ELECTION_TIMEOUT_MS:
        refuse(
            "raft.election_timeout_ms",
            f"must be at least three heartbeat intervals and at most {MAX_ELECTION_TIMEOUT_MS}",
        )
    if not 0 <= times.max_clock_drift <= 0.5:
        refuse("raft.max_clock_drift", "must be a share from 0 to 0.5")
    for key, place in _places(config).items():
        if "\0" in place:
            refuse(key, f"{place!r} is no path")


def _with_address(path: Path, config: NodeConfig, role: str) -> NodeConfig:
    """With an address for ``role`` on loopback, if the file gives none."""
    if getattr(config.addresses, role):
        return config
    port = 1 + max(split_address(Address(address))[1] for address in _own(config).values())
    if port > MAX_PORT:
        raise BadConfiguration(
            f"{path}: addresses.{role} has no default, since {port} is no port: name one."
        )
    addresses = msgspec.structs.replace(config.addresses, **{role: f"127.0.0.1:{port}"})
    return msgspec.structs.replace(config, addresses=addresses)


def _places(config: NodeConfig) -> dict[str, str]:
    """What names a file or folder, by key."""
    tls = {} if config.tls is None else msgspec.structs.asdict(config.tls)
    return {"data_dir": config.data_dir} | {f"tls.{key}": path for key, path in tls.items()}


def _own(config: NodeConfig) -> dict[str, str]:
    addresses: dict[str, str] = msgspec.structs.asdict(config.addresses)
    return {key: address for key, address in addresses.items() if address or key not in DEFAULTED}


def _refuse_twice(path: Path, addresses: dict[str, str], key: str) -> None:
    taken: dict[str, str] = {}
    for name, address in addresses.items():
        if address in taken:
            raise BadConfiguration(
                f"{path}: {key} gives {address} to both {taken[address]} and {name}."
            )
        taken[address] = name


def _is_loopback(path: Path, key: str, address: str) -> bool:
    """Whether ``host:port`` stays on this machine; raises for what is no address."""
    try:
        host, port = split_address(Address(address))
    except BadInput as error:
        raise BadConfiguration(f"{path}: {key}: {error.message}.") from error
    if port == 0:
        raise BadConfiguration(f"{path}: {key}: {address!r} names no port.")
    return is_loopback(host)


def _with_absolute_paths(folder: Path, config: NodeConfig) -> NodeConfig:
    tls = config.tls
    if tls is not None:
        tls = TlsSettings(
            ca=str(folder / tls.ca), cert=str(folder / tls.cert), key=str(folder / tls.key)
        )
    return msgspec.structs.replace(config, data_dir=str(folder / config.data_dir), tls=tls)
