"""``quorate join``: an empty directory becomes a machine of a running cluster.

All that can be wrong is looked for first, without writing anything.  Then the directory is made, in
this order::

    join.json    which token this is for, and the id that the machine drew
    ca.pem NAME.pem NAME.key node.toml
    data/        an empty log, and the identity last

and the node starts and asks the cluster to take it in.  So a directory with an identity is whole,
and one without has promised nothing: the same token finishes it, or makes its ``data`` anew.
"""

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import msgspec

from quorate.base.errors import (
    BadConfiguration,
    BadInput,
    NotFound,
    Unavailable,
)
from quorate.base.ids import Address, NodeId
from quorate.node.bootstrap import joining_identity, make_machine
from quorate.node.config import Addresses, NodeConfig, configuration_of, load
from quorate.node.identity import drawn_node, identity_in
from quorate.node.join_token import JoinToken
from quorate.node.members import MemberChanges, refuse_taken
from quorate.node.messages import NodeEntry
from quorate.node.private_file import PRIVATE, PUBLIC, make_file
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import Trace, World
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.network import split_address
from quorate.runtime.real.tls import TlsPaths
from quorate.runtime.real.world import close_world, real_world
from quorate.runtime.record import read_record, write_record

T = TypeVar("T")

JOIN_FILE = "join.json"
CONFIG_FILE = "node.toml"
LOOK_MS = 10_000.0
"""For finding the cluster before anything is written."""


class JoinRecord(msgspec.Struct, frozen=True):
    """What ``join.json`` holds."""

    token: str
    """A digest: the token itself is secret."""
    node: NodeId


def addresses_of(
    rpc: str,
    chunkserver: str | None,
    worker: str | None,
    metrics: str | None,
    resp: str | None,
) -> Addresses:
    """Where the new machine listens: on the ports after that of ``rpc``, unless told otherwise."""
    host, port = split_address(Address(rpc))
    shown = f"[{host}]" if ":" in host else host
    return Addresses(
        rpc,
        chunkserver or f"{shown}:{port + 1}",
        worker or f"{shown}:{port + 2}",
        metrics or "",
        resp or "",
    )


class Join:
    """One machine that is to enter the cluster of ``token``, in ``directory``."""

    def __init__(
        self,
        token: JoinToken,
        directory: Path,
        addresses: Addresses,
        trace: Trace,
        say: Callable[[str], None],
    ) -> None:
        self._token = token
        self._directory = directory.absolute()
        self._addresses = addresses
        self._trace = trace
        self._say = say
        self.config_file = self._directory / CONFIG_FILE

    async def prepare(self, now_ms: int) -> None:
        """Make the directory, or see that it is this token's; ``now_ms`` is the time since 1970.

        Raises what is wrong in one sentence, and has then changed nothing.
        """
        token = self._token
        record = self._record()
        node = record.node if record is not None else drawn_node()
        if record is not None and identity_in(self._directory / "data") is not None:
            self._refuse_other_address(load(self.config_file))
            self._say(f"{self._directory} holds {token.name} already; going on")
            return
        if now_ms >= token.expires_ms:
            raise BadInput(
                f"this join token for {token.name} expired"
                f" {(now_ms - token.expires_ms) // 1000} s ago: have a new one made with 'quorate"
                f" cluster token {token.name}'."
            )
        configuration_of(self._toml([]), self.config_file)  # before anybody is bothered
        machines = await self._look()
        refuse_taken(machines, self._entry(node))
        text = self._toml(machines)
        config = configuration_of(text, self.config_file)
        identity = joining_identity(token.name, node, token.cluster, token.founders)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with closing(RealDisk(self._directory)) as disk:
                await write_record(disk, JOIN_FILE, JoinRecord(self._digest(), node))
            for name, content, mode in self._files(text):
                (self._directory / name).unlink(missing_ok=True)
                make_file(self._directory / name, content.encode(), mode)
            await asyncio.to_thread(shutil.rmtree, config.data_path, ignore_errors=True)
        except OSError as error:
            raise BadConfiguration(
                f"{self._directory} cannot be used: {error.strerror}."
            ) from error
        await make_machine(config, identity)
        self._say(f"made {token.name} in {self._directory}, for the cluster {token.cluster}")

    async def enter(self, *, learner: bool, timeout_ms: float) -> None:
        """Have the cluster take the machine in, which runs."""
        config = load(self.config_file)
        identity = identity_in(config.data_path)
        if identity is None:
            raise NotFound(f"{config.data_dir} holds no identity any more.")
        seeds = [*self._token.seeds, *(Address(node.rpc) for node in config.nodes)]
        machine = NodeEntry(identity.node, identity.name, Address(config.addresses.rpc))

        async def ask(world: World, rpc: RpcClient) -> None:
            changes = MemberChanges(world, rpc, seeds, self._say, timeout_ms)
            await changes.add(machine, learner=learner)

        await self._in_world(config.tls_paths, ask)
        what = "gets all of the log" if learner else "is a full member"
        self._say(f"{machine.name} {what} of the cluster {self._token.cluster}")

    # What is there.

    def _record(self) -> JoinRecord | None:
        """That of this token; ``None`` if the directory is empty or not there."""
        if not self._directory.exists():
            return None
        if not self._directory.is_dir():
            raise BadConfiguration(f"{self._directory} is no directory: name another with --dir.")
        with closing(RealDisk(self._directory)) as disk:
            where = f"{self._directory}/{JOIN_FILE}"
            record = read_record(disk, JOIN_FILE, JoinRecord, where)
        if record is None and any(self._directory.iterdir()):
            raise BadConfiguration(
                f"{self._directory} is not empty: it may hold another machine; name an empty or new"
                " directory with --dir."
            )
        if record is not None and record.token != self._digest():
            raise BadConfiguration(
                f"{self._directory} holds a machine of another join token: name an empty or new"
                " directory with --dir."
            )
        return record

    def _refuse_other_address(self, config: NodeConfig) -> None:
        if config.addresses.rpc != self._addresses.rpc:
            raise BadConfiguration(
                f"{self.config_file} says that {config.name} listens at {config.addresses.rpc}, not"
                f" at {self._addresses.rpc}: repeat the command with --rpc {config.addresses.rpc}."
            )

    async def _look(self) -> list[NodeEntry]:
        """The machines of the cluster."""

        async def ask(world: World, rpc: RpcClient) -> list[NodeEntry]:
            changes = MemberChanges(world, rpc, self._token.seeds, self._say, LOOK_MS)
            return await changes.machines()

        with tempfile.TemporaryDirectory(prefix="quorate-join-") as name:
            paths = None
            if self._token.key:  # OpenSSL takes a certificate and its key from files alone
                folder = Path(name)
                paths = TlsPaths(folder / "ca", folder / "cert", folder / "key")
                texts = (self._token.ca, self._token.cert, self._token.key)
                for path, text in zip((paths.ca, paths.cert, paths.key), texts, strict=True):
                    make_file(path, text.encode(), PRIVATE)
            try:
                return await self._in_world(paths, ask)
            except Unavailable as error:
                raise Unavailable(
                    f"the cluster {self._token.cluster} does not answer at"
                    f" {', '.join(self._token.seeds)}: {error.message}"
                ) from error

    async def _in_world(
        self, tls: TlsPaths | None, work: Callable[[World, RpcClient], Awaitable[T]]
    ) -> T:
        world = real_world(Path(), trace=self._trace, tls=tls)
        try:
            rpc = RpcClient(world, Identity(self._token.cluster, NodeId(0), "client"))
            try:
                return await work(world, rpc)
            finally:
                await rpc.close()
        finally:
            await close_world(world)

    # What is written.

    def _digest(self) -> str:
        return hashlib.sha256(msgspec.msgpack.encode(self._token)).hexdigest()

    def _entry(self, node: NodeId) -> NodeEntry:
        return NodeEntry(node, self._token.name, Address(self._addresses.rpc))

    def _files(self, config: str) -> Sequence[tuple[str, str, int]]:
        token = self._token
        files = [(CONFIG_FILE, config, PUBLIC)]
        if token.key:
            files += [
                ("ca.pem", token.ca, PUBLIC),
                (f"{token.name}.pem", token.cert, PUBLIC),
                (f"{token.name}.key", token.key, PRIVATE),
            ]
        return files

    def _toml(self, machines: Sequence[NodeEntry]) -> str:
        token, addresses = self._token, msgspec.structs.asdict(self._addresses)
        lines = [
            "# Written by 'quorate join'.",
            f"name = {_quoted(token.name)}",
            'data_dir = "data"',
            "\n[addresses]",
            *(f"{role} = {_quoted(where)}" for role, where in addresses.items() if where),
        ]
        if token.key:
            name = token.name
            lines += ["\n[tls]", 'ca = "ca.pem"']
            lines += [f"cert = {_quoted(name + '.pem')}", f"key = {_quoted(name + '.key')}"]
        nodes = {machine.name: machine.rpc for machine in machines}
        for name, rpc in (nodes | {token.name: self._addresses.rpc}).items():
            lines += ["\n[[nodes]]", f"name = {_quoted(name)}", f"rpc = {_quoted(rpc)}"]
        return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)
