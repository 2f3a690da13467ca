"""A network whose cables can be pulled: a namespace for each node, joined by a bridge.

    with Wires(3) as wires:
        wires.hosts[0], wires.prefixes[0]   # an address, and what runs a command behind it
        wires.unplug(1)                     # node 1's cable leaves the bridge; nobody is told
        wires.plug(1)

Packets in both directions are lost without a word: no reset, no carrier that goes down, as when a
switch fails.  It needs root and the ``ip`` command; ``missing()`` says what is not there.
"""

import os
import shutil
import subprocess
from typing import Self


def missing() -> str:
    """Why there can be no ``Wires`` here; empty if there can."""
    if os.geteuid() != 0:
        return "it takes root to make network namespaces"
    if shutil.which("ip") is None:
        return "the command 'ip' (package iproute2) is not here"
    try:
        with Wires(1):
            return ""
    except subprocess.CalledProcessError as error:
        return f"'{' '.join(error.cmd)}' failed: {error.stderr.strip()}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Wires:
    """Namespaces of nodes 1, 2, …; this process is on the bridge, too."""

    def __init__(self, nodes: int) -> None:
        self._mark = f"qb{os.getpid()}"
        self._net = f"10.213.{os.getpid() % 250}"
        self._numbers = range(1, nodes + 1)
        self.hosts = [f"{self._net}.{number}" for number in self._numbers]
        self.prefixes = [
            ["ip", "netns", "exec", f"{self._mark}n{number}"] for number in self._numbers
        ]

    def __enter__(self) -> Self:
        try:
            _ip("link", "add", self._mark, "type", "bridge")
            _ip("addr", "add", f"{self._net}.254/24", "dev", self._mark)
            _ip("link", "set", self._mark, "up")
            for number in self._numbers:
                self._add(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _add(self, number: int) -> None:
        space, cable = f"{self._mark}n{number}", self._cable(number)
        _ip("netns", "add", space)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", space, "addr", "add", f"{self.hosts[number - 1]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        _ip("link", "set", cable, "up")
        self.plug(number)

    def _cable(self, number: int) -> str:
        return f"{self._mark}c{number}"

    def plug(self, number: int) -> None:
        _ip("link", "set", self._cable(number), "master", self._mark)

    def unplug(self, number: int) -> None:
        _ip("link", "set", self._cable(number), "nomaster")

    def __exit__(self, *error: object) -> None:
        """Takes away whatever of it is there."""
        for number in self._numbers:
            for command in (
                ["link", "del", self._cable(number)],
                ["netns", "del", f"{self._mark}n{number}"],
            ):
                subprocess.run(["ip", *command], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._mark], check=False, capture_output=True)
