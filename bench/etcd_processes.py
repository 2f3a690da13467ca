"""Three etcd servers as child processes, and a small client of their JSON gateway.

For comparisons: the same faults and the same writes as ``RaftProcesses`` gets.
"""

import asyncio
import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from processes import Processes

from quorate.torture.hosts import free_ports

START_S = 20.0
POLL_S = 0.05
VALUE = base64.b64encode(bytes(200)).decode()


def installed() -> bool:
    return shutil.which("etcd") is not None


class EtcdProcesses(Processes):
    """Servers 1, 2 and 3 with the two times of their elections; etcd's defaults are 100 and
    1000 ms."""

    numbers = (1, 2, 3)
    clients_turn: ClassVar[bool] = False

    def __init__(
        self,
        directory: Path,
        *,
        heartbeat_ms: int,
        election_ms: int,
        hosts: Sequence[str] = (),
        prefixes: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__(directory)
        self._timing = (heartbeat_ms, election_ms)
        self._prefixes = prefixes
        self._hosts = list(hosts) or ["127.0.0.1"] * len(self.numbers)
        self._ports = free_ports(2 * len(self.numbers))
        self._idle: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def begin(self) -> None:
        for number in self.numbers:
            self.start(number)
        await self.leader()

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        for number in self.numbers:
            self._drop(number)

    def _urls(self, number: int) -> tuple[str, str]:
        """Of clients and of peers."""
        host = self._hosts[number - 1]
        client, peer = self._ports[2 * number - 2 : 2 * number]
        return f"http://{host}:{client}", f"http://{host}:{peer}"

    def start(self, number: int) -> None:
        client, peer = self._urls(number)
        members = ",".join(f"n{other}={self._urls(other)[1]}" for other in self.numbers)
        options = {
            "name": f"n{number}",
            "data-dir": str(self._directory / f"n{number}"),
            "initial-cluster": members,
            "initial-cluster-state": "new",
            "initial-cluster-token": "bench",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "heartbeat-interval": str(self._timing[0]),
            "election-timeout": str(self._timing[1]),
            "log-level": "error",
        }
        command = [
            *(self._prefixes[number - 1] if self._prefixes else ()),
            "etcd",
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        self.launch(number, command)

    async def write(self, number: int) -> None:
        """One put of 200 bytes, sent to ``number``."""
        await self._post(number, "kv/put", {"key": "aw==", "value": VALUE})

    async def leader(self) -> int:
        """Of those that answer; raises ``TimeoutError``."""
        async with asyncio.timeout(START_S):
            while True:
                for number in self.numbers:
                    try:
                        async with asyncio.timeout(1):
                            status = await self._post(number, "maintenance/status", {})
                    except (OSError, TimeoutError, asyncio.IncompleteReadError):
                        continue
                    if status.get("leader") == status["header"]["member_id"]:
                        return number
                await asyncio.sleep(POLL_S)

    async def revision(self) -> int:
        """How many changes there were, and one."""
        status = await self._post(await self.leader(), "maintenance/status", {})
        return int(status["header"]["revision"])

    async def settled(self) -> bool:
        """Whether all servers are of one mind."""
        try:
            async with asyncio.timeout(1):
                seen = [
                    await self._post(number, "maintenance/status", {}) for number in self.numbers
                ]
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False
        return len({(own["raftTerm"], own.get("leader"), own["raftIndex"]) for own in seen}) == 1

    # HTTP, as little as it takes.

    async def _post(self, number: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        idle = self._idle.setdefault(number, [])
        if idle:
            reader, writer = idle.pop()
        else:
            host, _, port = self._urls(number)[0].removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
        try:
            data = json.dumps(body)
            writer.write(
                f"POST /v3/{path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {len(data)}\r\n\r\n"
                f"{data}".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0])
            reply: dict[str, Any] = json.loads(await reader.readexactly(length))
        except BaseException:
            writer.transport.abort()
            raise
        idle.append((reader, writer))
        if " 200 " not in head.partition("\r\n")[0]:
            raise OSError(f"etcd refused: {reply}")
        return reply

    def _drop(self, number: int) -> None:
        for _, writer in self._idle.pop(number, []):
            writer.transport.abort()
