"""Real sockets: addresses, mutual TLS, and bytes that are no frames."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from contract.worlds import Inbox
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from quorate.base.errors import BadConfiguration, BadInput, ProtocolError, Unavailable
from quorate.base.ids import Address
from quorate.runtime.ports import Connection
from quorate.runtime.real.loop import run
from quorate.runtime.real.network import RealNetwork, is_loopback, split_address
from quorate.runtime.real.tls import TlsPaths, tls_contexts

LOOPBACK = Address("127.0.0.1:0")
RUNNERS = pytest.mark.parametrize("runner", [run, lambda main: asyncio.run(main())])
Runner = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def test_addresses_are_host_and_port() -> None:
    assert split_address(Address("node-1.example:7400")) == ("node-1.example", 7400)
    assert split_address(Address("[::1]:80")) == ("::1", 80)
    for wrong in ("", "7400", ":7400", "host:", "host:x", "host:-1", "host:70000", "host:٣"):
        with pytest.raises(BadInput, match="write HOST:PORT"):
            split_address(Address(wrong))


def test_loopback_is_told_from_addresses_that_others_can_reach() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", ""))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "10.1.2.3:7400", "node-1:7400", "[::]:7400"])
def test_an_address_off_loopback_without_tls_is_refused_both_ways(address: str) -> None:
    async def main() -> None:
        network = RealNetwork()
        with pytest.raises(BadConfiguration, match="needs mutual TLS"):
            await network.listen(Address(address), Inbox, 100)
        with pytest.raises(BadConfiguration, match="needs mutual TLS"):
            await network.connect(Address(address), Inbox(), 100, 100)

    run(main)


@RUNNERS
@pytest.mark.parametrize("garbage", [b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100_000])
def test_bytes_that_are_no_frame_end_their_connection_alone(runner: Runner, garbage: bytes) -> None:
    async def main() -> None:
        network = RealNetwork()
        inboxes: list[Inbox] = []

        def accept() -> Inbox:
            inboxes.append(Inbox())
            return inboxes[-1]

        listener = await network.listen(LOOPBACK, accept, 1_000)
        good = await network.connect(listener.address, Inbox(), 1_000, 5_000)
        reader, writer = await asyncio.open_connection(*split_address(listener.address))
        writer.write(b"\0\0\0\2ok" + garbage)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        assert inboxes[1].frames == [b"ok"]
        assert isinstance(inboxes[1].ended[0], ProtocolError)
        good.send([[b"unharmed"]])
        await inboxes[0].until(lambda inbox: inbox.frames == [b"unharmed"])
        await network.close()

    runner(main)


@RUNNERS
def test_frames_cut_anywhere_by_the_wire_come_out_whole(runner: Runner) -> None:
    frames = [b"a", b"b" * 300, b"c" * 40_000, b"d" * 70_000, b"e" * 5, b"f" * 32_768, b"g"]
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)

    async def main() -> None:
        network, inbox = RealNetwork(), Inbox()
        listener = await network.listen(LOOPBACK, lambda: inbox, 1 << 20)
        _, writer = await asyncio.open_connection(*split_address(listener.address))
        position, step = 0, 1
        while position < len(stream):
            writer.write(stream[position : position + step])
            await writer.drain()
            await asyncio.sleep(0)
            position, step = position + step, step * 3 % 9_973
        await inbox.until(lambda inbox: len(inbox.frames) == len(frames))
        assert inbox.frames == frames
        writer.close()
        await network.close()

    runner(main)


def test_a_peer_that_resets_is_a_broken_connection() -> None:
    async def main() -> None:
        network, inbox = RealNetwork(), Inbox()
        listener = await network.listen(LOOPBACK, lambda: inbox, 100)
        peer = socket.create_connection(split_address(listener.address))
        await inbox.until(lambda inbox: inbox.connection is not None)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        await inbox.until(lambda inbox: bool(inbox.ended))
        assert isinstance(inbox.ended[0], Unavailable)
        await network.close()

    run(main)


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, directory.name)])
        self.ca = directory / "ca.pem"
        self.certificate = self._sign(self.name, self.key, is_authority=True)
        self.ca.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self.name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=1),
        )
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        if not is_authority:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("10.0.0.1"))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def machine(self, name: str, *, password: bytes | None = None) -> TlsPaths:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, is_authority=False)
        paths = TlsPaths(
            self.ca, self.directory / f"{name}.cert.pem", self.directory / f"{name}.key.pem"
        )
        paths.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        lock = serialization.BestAvailableEncryption(password) if password else None
        paths.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                lock or serialization.NoEncryption(),
            ),
        )
        return paths


@RUNNERS
def test_machines_of_one_authority_talk_over_tls(runner: Runner, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    first, second = authority.machine("n1"), authority.machine("n2")

    async def main() -> None:
        server = Inbox()
        listening, connecting = RealNetwork(tls_contexts(first)), RealNetwork(tls_contexts(second))
        listener = await listening.listen(Address("0.0.0.0:0"), lambda: server, 4 << 20)
        address = Address(listener.address.replace("0.0.0.0", "127.0.0.1"))
        near = await connecting.connect(address, Inbox(), 4 << 20, 5_000)
        near.send([[b"secret"], [b"x" * 3_000_000]])
        await server.until(lambda inbox: len(inbox.frames) == 2)
        assert server.frames == [b"secret", b"x" * 3_000_000]
        near.close()
        await server.until(lambda inbox: bool(inbox.ended))
        await connecting.close()
        await listening.close()

    runner(main)


@RUNNERS
def test_a_stranger_gets_no_connection_and_harms_nobody(runner: Runner, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    stranger = theirs.machine("n1")
    # One that knows our authority's public certificate, but has none that it signed.
    spy = TlsPaths(ours.ca, stranger.cert, stranger.key)

    async def main() -> None:
        accepted: list[Inbox] = []

        def accept() -> Inbox:
            accepted.append(Inbox())
            return accepted[-1]

        network = RealNetwork(tls_contexts(ours.machine("n1")))
        listener = await network.listen(LOOPBACK, accept, 100)
        outsider = RealNetwork(tls_contexts(stranger))
        with pytest.raises(Unavailable):
            await outsider.connect(listener.address, Inbox(), 100, 5_000)

        # TLS 1.3: the client is done before the server has judged it, so it may seem connected.
        inbox = Inbox()
        spying = RealNetwork(tls_contexts(spy))
        with contextlib.suppress(Unavailable):
            near = await spying.connect(listener.address, inbox, 100, 5_000)
            near.send([[b"let me in"]])
            await inbox.until(lambda inbox: bool(inbox.ended))

        plain = Inbox()
        unprotected = RealNetwork()
        near = await unprotected.connect(listener.address, plain, 100, 5_000)
        near.send([[b"in the clear"]])
        await plain.until(lambda inbox: bool(inbox.ended))
        assert all(inbox.connection is None for inbox in accepted)

        friend = RealNetwork(tls_contexts(ours.machine("n2")))
        near = await friend.connect(listener.address, Inbox(), 100, 5_000)
        near.send([[b"welcome"]])
        await accepted[-1].until(lambda inbox: inbox.frames == [b"welcome"])
        for each in (friend, unprotected, spying, outsider, network):
            await each.close()

    runner(main)


def test_tls_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    good, other = authority.machine("n1"), authority.machine("n2")
    locked = authority.machine("n3", password=b"secret")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here")
    missing = tmp_path / "missing.pem"
    for paths, named in (
        (TlsPaths(missing, good.cert, good.key), missing),
        (TlsPaths(good.ca, missing, good.key), missing),
        (TlsPaths(good.ca, good.cert, missing), missing),
        (TlsPaths(empty, good.cert, good.key), empty),
        (TlsPaths(good.ca, empty, good.key), empty),
        (TlsPaths(good.ca, good.cert, empty), empty),
        (TlsPaths(good.ca, good.cert, other.key), other.key),
        (locked, locked.key),
    ):
        with pytest.raises(BadConfiguration, match=named.name):
            tls_contexts(paths)


@RUNNERS
def test_who_gives_up_connecting_at_the_last_moment_leaves_nothing_that_close_waits_for(
    runner: Runner,
) -> None:
    """uvloop has then called ``connection_made`` and never calls ``connection_lost``."""

    class GivesUp(Inbox):
        task: asyncio.Task[Any]

        def connected(self, connection: Connection) -> None:
            super().connected(connection)
            self.task.cancel()

    async def main() -> None:
        server, client, receiver = RealNetwork(), RealNetwork(), GivesUp()
        listener = await server.listen(LOOPBACK, Inbox, 100)
        connecting = client.connect(listener.address, receiver, 100, 1_000)
        receiver.task = asyncio.create_task(connecting)
        with pytest.raises(asyncio.CancelledError):
            await receiver.task
        async with asyncio.timeout(10):
            await client.close()
        assert len(receiver.ended) == 1
        await server.close()

    runner(main)
