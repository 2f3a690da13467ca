"""Three ZooKeeper servers as child processes, as Debian packages them; forced to disk, the default.

For comparisons: the same writes as our nodes get (``kv_load.py``).
"""

import asyncio
import shutil
from pathlib import Path

from processes import Processes

from quorate.torture.hosts import free_ports

JAR = Path("/usr/share/java/zookeeper.jar")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
START_S = 60.0
POLL_S = 0.1


def missing() -> str:
    """Why it cannot run here; empty if it can."""
    if shutil.which("java") is None:
        return "java is not installed"
    return "" if JAR.exists() else f"{JAR} is not there"


class ZooKeeperProcesses(Processes):
    """Servers 1, 2 and 3."""

    numbers = (1, 2, 3)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        ports = free_ports(3 * len(self.numbers))
        self._ports = {number: ports[3 * number - 3 : 3 * number] for number in self.numbers}

    async def begin(self) -> None:
        for number in self.numbers:
            self.start(number)
        await self.leader()

    def port(self, number: int) -> int:
        """Where clients of a server go."""
        return self._ports[number][0]

    def start(self, number: int) -> None:
        folder = self._directory / f"n{number}"
        folder.mkdir(exist_ok=True)
        (folder / "myid").write_text(str(number))
        lines = [
            "tickTime=2000",
            "initLimit=10",
            "syncLimit=5",
            f"dataDir={folder}",
            f"clientPort={self.port(number)}",
            "clientPortAddress=127.0.0.1",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "4lw.commands.whitelist=srvr",
        ]
        for other, (_, peer, election) in self._ports.items():
            lines.append(f"server.{other}=127.0.0.1:{peer}:{election}")
        config = folder / "zoo.cfg"
        config.write_text("\n".join([*lines, ""]))
        self.launch(number, ["java", "-Xmx1g", "-cp", str(JAR), MAIN, str(config)])

    async def leader(self) -> int:
        """Raises ``TimeoutError``."""
        async with asyncio.timeout(START_S):
            while True:
                for number in self.running():
                    if b"Mode: leader" in await self._told(number):
                        return number
                await asyncio.sleep(POLL_S)

    async def _told(self, number: int) -> bytes:
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port(number))
                writer.write(b"srvr")
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return b""
        return answer
