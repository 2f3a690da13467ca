"""Where the nodes live, and what cuts a link between two of them.

*Namespaces*: each node in a network namespace of its own, on a bridge on which this process is,
too.  A direction is cut by a wrong neighbour: the sender's kernel holds a hardware address for the
other that nobody has, so the packets leave and are lost without a word, and the way back works.
It needs root and ``ip``, nothing else.  Off loopback the nodes speak mutual TLS, as they must.

*Loopback*: one network for all, where nothing can be cut; the nodes drop frames themselves
(``ports.py``).
"""

import os
import socket
from abc import ABC, abstractmethod
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from quorate.base.errors import NotJudged
from quorate.base.ids import Address
from quorate.node.authority import CERTIFICATE_FILE, create_authority, issue
from quorate.node.private_file import PRIVATE, PUBLIC, make_file
from quorate.runtime.real.tls import TlsPaths
from quorate.torture.faults import Link
from quorate.torture.system import command, missing

PORT = 7400
RESP_PORT = 7404
_NOBODY = "02:00:00:00:00:01"
"""A locally administered hardware address that no device has."""


class Hosts(ABC):
    """The machines that nodes 1, 2, … believe to be alone on."""

    partitions: str
    """How links are cut, for the report."""
    drops: bool
    """Whether the nodes must drop the frames of a cut themselves."""
    tls: TlsPaths | None = None
    """What clients show."""

    def __init__(self, addresses: list[Address], resp: list[Address]) -> None:
        self.addresses = addresses
        self.resp = resp
        """Where Redis clients come in, if the target lets them."""

    def tls_of(self, node: int) -> TlsPaths | None:
        """What that node shows: a certificate of its own, as a node of the product must."""
        return None

    @abstractmethod
    def prefix(self, node: int) -> list[str]:
        """What a command line begins with that is to run there."""

    @abstractmethod
    def cut(self, links: frozenset[Link]) -> None:
        """These, and no others, let nothing pass."""


class Loopback(Hosts):
    """All on 127.0.0.1."""

    drops = True

    def __init__(self, nodes: int, why: str) -> None:
        doors = [Address(f"127.0.0.1:{port}") for port in free_ports(2 * nodes)]
        super().__init__(doors[:nodes], doors[nodes:])
        self.partitions = f"dropped in our own transport: {why}"

    def prefix(self, node: int) -> list[str]:
        return []

    def cut(self, links: frozenset[Link]) -> None:
        """The nodes do."""


class Namespaces(Hosts):
    """One network namespace for each."""

    drops = False
    partitions = "real: a network namespace for each node"

    def __init__(self, mark: str, nodes: int, folder: Path) -> None:
        self._mark = mark
        self._net = _free_net()
        self._numbers = range(1, nodes + 1)
        self._links: frozenset[Link] = frozenset()
        super().__init__(self._doors(PORT), self._doors(RESP_PORT))
        self._shown = {node: make_certificate(folder, f"n{node}") for node in self._numbers}
        self.tls = make_certificate(folder, "client", is_node=False)
        command("ip", "link", "add", mark, "type", "bridge")
        command("ip", "addr", "add", f"{self._net}.254/24", "dev", mark)
        command("ip", "link", "set", mark, "up")
        for node in self._numbers:
            self._add(node)

    def _host(self, node: int) -> str:
        return f"{self._net}.{node}"

    def tls_of(self, node: int) -> TlsPaths | None:
        return self._shown[node]

    def _doors(self, port: int) -> list[Address]:
        return [Address(f"{self._host(node)}:{port}") for node in self._numbers]

    def _space(self, node: int) -> str:
        return f"{self._mark}n{node}"

    def _add(self, node: int) -> None:
        space, cable = self._space(node), f"{self._mark}c{node}"
        command("ip", "netns", "add", space)
        command("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        command("ip", "-n", space, "addr", "add", f"{self._host(node)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            command("ip", "-n", space, "link", "set", device, "up")
        command("ip", "link", "set", cable, "master", self._mark, "up")

    def prefix(self, node: int) -> list[str]:
        return ["ip", "netns", "exec", self._space(node)]

    def cut(self, links: frozenset[Link]) -> None:
        orders: dict[int, list[str]] = defaultdict(list)
        for sender, receiver in sorted(links - self._links):
            orders[sender].append(
                f"neigh replace {self._host(receiver)} lladdr {_NOBODY} nud permanent dev eth0"
            )
        for sender, receiver in sorted(self._links - links):
            orders[sender].append(f"neigh del {self._host(receiver)} dev eth0")
        for sender, lines in orders.items():
            command("ip", "-n", self._space(sender), "-batch", "-", told="\n".join(lines) + "\n")
        self._links = links


def no_namespaces() -> str:
    """Why there can be no ``Namespaces`` here; empty if there can."""
    if why := missing("ip"):
        return why
    probe = f"qt{os.getpid()}probe"
    try:
        command("ip", "netns", "add", probe)
        command("ip", "netns", "exec", probe, "true")
    except NotJudged as error:
        return error.message.rstrip(".")
    finally:
        with suppress(NotJudged):
            command("ip", "netns", "del", probe)
    return ""


def make_certificate(folder: Path, name: str = "torture", *, is_node: bool = True) -> TlsPaths:
    """One by the run's own authority, which the first one makes."""
    if not (folder / CERTIFICATE_FILE).exists():
        create_authority(folder)
    issued = issue(folder, name, is_node=is_node)
    paths = TlsPaths(folder / CERTIFICATE_FILE, folder / f"{name}.pem", folder / f"{name}.key")
    make_file(paths.cert, issued.cert.encode(), PUBLIC)
    make_file(paths.key, issued.key.encode(), PRIVATE)
    return paths


def _free_net() -> str:
    """The beginning of the addresses of a network of 256 that this machine has no way to."""
    known = command("ip", "-4", "-o", "route", "show", "table", "all")
    for number in range(256):
        net = f"10.214.{number}"
        if f"{net}." not in known:
            return net
    raise NotJudged("All networks 10.214.0.0/24 to 10.214.255.0/24 are taken.")


def free_ports(number: int) -> list[int]:
    """Of 127.0.0.1, below those that outgoing connections use."""
    found: list[int] = []
    for port in range(16_000, 30_000, 7):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == number:
            return found
    raise NotJudged(f"There are no {number} free ports on 127.0.0.1.")
