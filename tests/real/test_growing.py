"""A cluster of real machines grows and shrinks while it works, by the commands that a user has."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path

import pytest
from local_nodes import COMMAND, quorate, with_cluster
from real.test_node_identity import node, write_config

from quorate.base.errors import QuorateError
from quorate.base.ids import GROUP_NAMES, Address, ClusterId, NodeId
from quorate.cli import main
from quorate.gfs.client import FileSystem
from quorate.library.local import free_port
from quorate.node.local_cluster import LocalCluster
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World

WRITERS = 3


class Load:
    """Directories that are made all the time, and when each was acknowledged."""

    def __init__(self, world: World, addresses: list[Address]) -> None:
        self._clock = world.clock
        self._rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
        self._files = FileSystem(world, self._rpc, addresses)
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: dict[str, float] = {}

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]

    async def _write(self, writer: int) -> None:
        for number in count():
            path = f"/{writer}-{number}"
            try:
                await self._files.mkdir(path)
            except QuorateError:
                continue  # it may be there or not: nothing was promised
            self.acknowledged[path] = self._clock.monotonic_ms()
            await self._clock.sleep(10)

    async def store(self, path: str, data: bytes) -> None:
        file = await self._files.create(path)
        await file.write(data)
        await file.close()

    async def read(self, path: str) -> bytes:
        return await self._files.read(path)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def longest_gap_ms(self) -> float:
        times = sorted(self.acknowledged.values())
        return max(after - before for before, after in pairwise(times))

    async def lost(self) -> list[str]:
        there = {entry.path for entry in await self._files.list("/")}
        return [path for path in self.acknowledged if path not in there]

    async def close(self) -> None:
        await self._rpc.close()


@contextmanager
def joining(folder: Path, name: str, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``quorate join`` of a machine whose token lies in ``folder``; killed at the end."""
    process = subprocess.Popen(
        [
            *(*COMMAND, "join", f"@{folder / name}.token", "--dir", str(folder / name)),
            *("--rpc", f"127.0.0.1:{port}", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str], words: str) -> str:
    """All that a process says until it says ``words``; fails if it ends without."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if words in line:
            return text
    raise AssertionError(f"it ended with {process.wait()}: {text}")


def token(folder: Path, name: str, port: int, *options: str) -> None:
    done = quorate("cluster", "token", name, *options, port=port)
    assert done.returncode == 0, done.stderr
    (folder / f"{name}.token").write_text(done.stdout)


def test_no_acknowledged_write_is_lost_while_machines_join_and_founders_leave(
    tmp_path: Path,
) -> None:
    first = free_port(5)
    ports = {f"n{number}": first + 10 * (number - 1) for number in range(1, 6)}

    async def work(world: World, cluster: LocalCluster) -> None:
        async def command(*arguments: str, port: int = first) -> str:
            done = await asyncio.to_thread(quorate, "cluster", *arguments, port=port)
            assert done.returncode == 0, done.stderr
            return done.stdout

        load = Load(world, cluster.addresses)
        await load.store("/precious", b"kept")
        load.begin()
        new = ("n4", "n5")
        await asyncio.gather(*(asyncio.to_thread(token, tmp_path, name, first) for name in new))
        with (
            joining(tmp_path, "n4", ports["n4"]) as n4,
            joining(tmp_path, "n5", ports["n5"]) as n5,
        ):
            # Both at once: neither undoes what the other asks for.
            for process in (n4, n5):
                await asyncio.to_thread(said, process, "full member")
            groups = json.loads(await command("members", "--json"))["groups"]
            leader = groups[0]["leader"] if groups[0]["leader"] in cluster.nodes else "n1"
            other, last = sorted(set(cluster.nodes) - {leader})
            done = await command("remove", leader)
            assert f"{leader} may be stopped now; then there is one copy less of 1 chunk" in done
            done = await command("remove", other, port=ports["n4"])
            assert f"{other} may be stopped now" in done and "only one is left" in done
            before = len(load.acknowledged)
            await asyncio.gather(*map(cluster.stop_node, (leader, other)))
            while len(load.acknowledged) < before + 50:
                await world.clock.sleep(20)
            await load.end()
            assert await load.lost() == []
            assert await load.read("/precious") == b"kept"
            arguments = ("cluster", "remove", last)
            refused = await asyncio.to_thread(quorate, *arguments, port=ports["n4"])
            assert refused.returncode == 2 and "nothing was changed" in refused.stderr
            assert f"{last} has 1 chunk of files (/precious)" in refused.stderr
            shown = await command("members", port=ports["n4"])
            voters = {line.split()[1] for line in shown.splitlines() if " voter " in line}
            assert voters == {last, "n4", "n5"} and shown.count(" voter ") == 3 * len(GROUP_NAMES)
            given_up = await command("remove", last, "--lose-files", port=ports["n4"])
            assert f"{last} has 1 chunk of files (/precious): it must not be stopped" in given_up
            assert "may be stopped" not in given_up
            await load.close()
        gap = f"longest gap {load.longest_gap_ms():.0f} ms"
        sys.stderr.write(f"{len(load.acknowledged)} writes, {gap}\n")

    with_cluster(tmp_path, work, nodes=3, port=first, tasks=1)


def test_a_machine_joins_with_certificates_by_one_command_and_a_removed_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port, authority = free_port(2), str(tmp_path / "ca")
    monkeypatch.setenv("QUORATE_CLUSTER", f"127.0.0.1:{port}")

    def command(*arguments: str) -> tuple[int, str, str]:
        """In this process: most of what a command takes is Python's start."""
        monkeypatch.setattr(sys, "argv", ["quorate", *arguments])
        return (main.run(), *capsys.readouterr())

    assert command("ca", "init", authority)[0] == 0
    for name, *kind in (("a", "--node"), ("user",)):
        into = ("--ca", authority, "--out", str(tmp_path))
        assert command("ca", "issue", name, *kind, *into)[0] == 0
    files = {"ca": "ca.pem", "cert": "a.pem", "key": "a.key"}
    tls = "[tls]\n" + "".join(f'{key} = "{file}"\n' for key, file in files.items())
    config = write_config(tmp_path, "a", port, ("a",), tls)
    assert command("bootstrap", "--config", config)[0] == 0
    for kind, file in (("CA", "ca.pem"), ("CERT", "user.pem"), ("KEY", "user.key")):
        monkeypatch.setenv(f"QUORATE_TLS_{kind}", str(tmp_path / file))
    assert command("ca", "init", f"{authority}-of-others")[0] == 0
    with node(config):
        code, _, errors = command("cluster", "token", "b", "--ca", f"{authority}-of-others")
        assert code == 3 and "is not that of this cluster" in errors and errors.count("\n") == 1
        code, text, errors = command("cluster", "token", "b", "--ca", authority)
        assert code == 0 and "private key" in errors
        (tmp_path / "b.token").write_text(text)
        with joining(tmp_path, "b", port + 10) as b:
            said(b, "full member")
            assert (tmp_path / "b" / "b.key").stat().st_mode & 0o077 == 0
            code, _, errors = command("cluster", "token", "b", "--ca", authority)
            assert code == 5 and "a machine called b belongs to the cluster already" in errors
            assert command("cluster", "remove", "b")[0] == 0
        removed = quorate("node", "--config", str(tmp_path / "b" / "node.toml"))
        assert removed.returncode == 3
        assert "b was removed from the cluster" in removed.stderr
        assert removed.stderr.count("\n") == 1
        code, _, errors = command("cluster", "remove", "a")
        assert code == 2 and "a is the last voter of the group namespace" in errors
