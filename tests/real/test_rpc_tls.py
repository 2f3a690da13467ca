"""RPC over mutual TLS: who has no certificate of the cluster's authority gets no answer."""

import asyncio
import datetime
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from unit.rpc.support import CLIENT, CLUSTER, Echo, Echoed, Fetch, Raw, Service, hello

from quorate.base.errors import BadConfiguration, Unavailable
from quorate.base.ids import Address, NodeId
from quorate.node.authority import create_authority, issue
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.real.tls import NODE_UNIT
from quorate.runtime.real.world import TlsPaths, close_world, real_world, run

Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: Authority | None
) -> x509.Certificate:
    unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, NODE_UNIT)
    subject = x509.Name([unit, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(key if issuer is None else issuer[1], hashes.SHA256())
    )


def make_authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return _certificate(name, key, None), key


def make_paths(root: Path, name: str, authority: Authority, trusted: Authority) -> TlsPaths:
    """Files of a machine whose certificate ``authority`` signed and which trusts ``trusted``."""
    key = ec.generate_private_key(ec.SECP256R1())
    paths = TlsPaths(root / f"{name}.ca", root / f"{name}.cert", root / f"{name}.key")
    pem = serialization.Encoding.PEM
    paths.ca.write_bytes(trusted[0].public_bytes(pem))
    paths.cert.write_bytes(_certificate(name, key, authority).public_bytes(pem))
    paths.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


Scenario = Callable[[Service, Address], Coroutine[Any, Any, None]]


def served(root: Path, tls: TlsPaths | None, scenario: Scenario) -> None:
    async def main() -> None:
        world = real_world(root / "server", tls=tls)
        service = Service(world)
        listener = await service.server.start(Address("127.0.0.1:0"))
        try:
            await scenario(service, listener.address)
        finally:
            await service.server.close()
            await close_world(world)

    run(main)


async def echo(
    root: Path, tls: TlsPaths | None, address: Address, identity: Identity = CLIENT
) -> object:
    """What one call of a client with ``tls`` gives."""
    world = real_world(root / "client", tls=tls)
    client = RpcClient(world, identity)
    try:
        reply = await client.call(address, Echo(1), timeout_ms=10_000)
        _, payload = await client.call_bulk(address, Fetch(3_000_000), timeout_ms=10_000)
        assert len(payload) == 3_000_000
        return reply
    finally:
        await client.close()
        await close_world(world)


def test_machines_of_one_authority_talk(tmp_path: Path) -> None:
    ours = make_authority("ours")
    here = make_paths(tmp_path, "here", ours, ours)
    there = make_paths(tmp_path, "there", ours, ours)

    async def scenario(service: Service, address: Address) -> None:
        assert await echo(tmp_path, here, address) == Echoed(1, "value")

    served(tmp_path, there, scenario)


def issued(root: Path, name: str, *, is_node: bool) -> TlsPaths:
    """Files of a machine or user, as ``quorate ca issue`` makes them."""
    if not (root / "ca").exists():
        create_authority(root / "ca")
    made = issue(root / "ca", name, is_node=is_node)
    paths = TlsPaths(root / f"{name}.ca", root / f"{name}.cert", root / f"{name}.key")
    for path, text in zip(
        (paths.ca, paths.cert, paths.key), (made.ca, made.cert, made.key), strict=True
    ):
        path.write_text(text)
    return paths


@pytest.mark.parametrize("role", ["raft", "chunkserver", "worker", "supervisor"])
def test_a_user_s_certificate_speaks_as_no_process_of_a_node(role: str, tmp_path: Path) -> None:
    node, user = issued(tmp_path, "n1", is_node=True), issued(tmp_path, "ann", is_node=False)

    async def scenario(service: Service, address: Address) -> None:
        liar = Identity(CLUSTER, NodeId(2), role)
        with pytest.raises(BadConfiguration, match=r"'ann' is no machine's.*ca issue NAME --node"):
            await echo(tmp_path, user, address, liar)
        assert service.echoed == 0
        honest = Identity(CLUSTER, NodeId(0), "client", certified="somebody else")
        assert await echo(tmp_path, user, address, honest) == Echoed(1, "value")
        assert service.calls[-1].peer.certified == "ann"
        assert await echo(tmp_path, node, address, liar) == Echoed(1, "value")
        assert service.calls[-1].peer.certified == "n1"

    served(tmp_path, node, scenario)


def test_a_user_s_certificate_answers_as_no_node(tmp_path: Path) -> None:
    node, user = issued(tmp_path, "n1", is_node=True), issued(tmp_path, "ann", is_node=False)

    async def scenario(service: Service, address: Address) -> None:
        with pytest.raises(BadConfiguration, match="'ann' is no machine's"):
            await echo(tmp_path, node, address)

    served(tmp_path, user, scenario)


@pytest.mark.parametrize("kind", ["no certificate", "another authority's certificate", "no TLS"])
def test_a_client_without_our_certificate_is_refused(kind: str, tmp_path: Path) -> None:
    ours, theirs = make_authority("ours"), make_authority("theirs")
    there = make_paths(tmp_path, "there", ours, ours)

    def without_certificate(address: Address) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(there.ca)
        host, _, port = address.rpartition(":")
        frame = b"".join(hello())
        with (
            socket.create_connection((host, int(port)), timeout=10) as raw,
            context.wrap_socket(raw) as stream,
        ):
            stream.sendall(len(frame).to_bytes(4, "big") + frame)
            # In TLS 1.3 the client learns of it only when it reads: an alert, or the end.
            with suppress(ssl.SSLError, ConnectionError):
                assert stream.recv(1) == b""

    async def scenario(service: Service, address: Address) -> None:
        if kind == "no certificate":
            await asyncio.to_thread(without_certificate, address)
        else:
            tls = make_paths(tmp_path, "stranger", theirs, ours) if "another" in kind else None
            with pytest.raises(Unavailable):
                await echo(tmp_path, tls, address)
        assert service.echoed == 0
        assert len(service.server._connections) == 0
        good = make_paths(tmp_path, "here", ours, ours)
        assert await echo(tmp_path, good, address) == Echoed(1, "value")

    served(tmp_path, there, scenario)


def test_a_server_of_another_authority_is_refused_by_the_client(tmp_path: Path) -> None:
    ours, theirs = make_authority("ours"), make_authority("theirs")
    impostor = make_paths(tmp_path, "impostor", theirs, ours)

    async def scenario(service: Service, address: Address) -> None:
        here = make_paths(tmp_path, "here", ours, ours)
        with pytest.raises(Unavailable):
            await echo(tmp_path, here, address)
        assert service.echoed == 0

    served(tmp_path, impostor, scenario)


def test_an_address_off_loopback_without_tls_is_refused_on_both_sides(tmp_path: Path) -> None:
    async def scenario(service: Service, address: Address) -> None:
        with pytest.raises(BadConfiguration, match="needs mutual TLS"):
            await service.server.start(Address("0.0.0.0:0"))
        with pytest.raises(BadConfiguration, match="needs mutual TLS"):
            await echo(tmp_path, None, Address("192.0.2.1:7400"))

    served(tmp_path, None, scenario)


def test_garbage_before_the_handshake_harms_nobody(tmp_path: Path) -> None:
    ours = make_authority("ours")
    there = make_paths(tmp_path, "there", ours, ours)

    async def scenario(service: Service, address: Address) -> None:
        plain = real_world(tmp_path / "plain")
        peer = Raw()
        await plain.network.connect(address, peer, 1 << 20, 10_000)
        peer.send((b"GET / HTTP/1.1\r\n\r\n",))
        await peer.end
        await close_world(plain)
        good = make_paths(tmp_path, "here", ours, ours)
        assert await echo(tmp_path, good, address) == Echoed(1, "value")

    served(tmp_path, there, scenario)
