"""The handshake: who talks to whom, in which protocol, about which cluster.

The client's first frame is ``Hello`` and it sends nothing else before ``Welcome``: a request can
then not overtake the handshake, even where frames are reordered.  A server that refuses says why
in one ``error`` frame and closes.  A repeated hello or welcome is ignored.

Both sides compare cluster ids, so that a wrong address, or a machine that was reinstalled for
another cluster, cannot mix data.  Only a command-line client may come without one.

Where there is TLS, both sides hold what the other declares against its certificate: only a machine
may be a process of a node, whichever, and a user is a client and nothing else.  Which machine it is
the certificate says by its name, since ids are drawn later; who knows the names compares them
(raft/server.py).  Without TLS, which is on loopback alone, the declaration is all there is.
"""

from typing import Annotated, Literal

import msgspec

from quorate.base.errors import BadConfiguration, ProtocolError
from quorate.base.ids import ClusterId, NodeId
from quorate.rpc.frames import HELLO, KIND_NAMES, Header, decode_body
from quorate.runtime.ports import Certificate

PROTOCOL_VERSION = 1
HELLO_TIMEOUT_MS = 2000
"""How long a server waits for the hello of a connection that it accepted."""


CLIENT_ROLE = "client"


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process of a cluster, or a client of it."""

    cluster: Annotated[ClusterId, msgspec.Meta(max_length=64)]
    """Empty for a client that does not know it yet."""
    node: NodeId
    """0 for clients."""
    role: Annotated[str, msgspec.Meta(max_length=32)]
    """``raft``, ``chunkserver``, ``worker`` or ``client``."""
    life: Annotated[str, msgspec.Meta(max_length=300)] = ""
    """Where this process runs, and something random: two processes never have the same."""
    certified: str = ""
    """What its certificate calls it.  Put there by who received the handshake, whatever was
    declared; empty without TLS."""

    def __str__(self) -> str:
        return f"{self.role} of node {self.node}" if self.node else self.role


class Hello(msgspec.Struct, array_like=True):
    """The first frame.  ``protocol_version`` stays first for ever, whatever follows changes."""

    protocol_version: int
    channel: Literal["control", "bulk"]
    identity: Identity


class Welcome(msgspec.Struct, array_like=True):
    """The server's answer to a hello that it accepts."""

    identity: Identity


class _Version(msgspec.Struct, array_like=True):
    protocol_version: int


_decode_version = msgspec.msgpack.Decoder(_Version).decode
_decode_hello = msgspec.msgpack.Decoder(Hello).decode
_decode_welcome = msgspec.msgpack.Decoder(Welcome).decode


def hello_from(header: Header, own: Identity, certificate: Certificate | None) -> Hello:
    """The hello in the first frame of a connection to ``own``; raises what to refuse it with."""
    if header.kind != HELLO:
        raise ProtocolError(
            f"the first frame of a connection must be hello, this one is {KIND_NAMES[header.kind]}"
        )
    version = decode_body(_decode_version, header.body).protocol_version
    if version != PROTOCOL_VERSION:
        raise BadConfiguration(
            f"this is {own}, which speaks version {PROTOCOL_VERSION} of the protocol, and the "
            f"caller speaks version {version}: run the same release of quorate on both"
        )
    hello = decode_body(_decode_hello, header.body)
    if hello.identity.cluster not in ("", own.cluster):
        raise BadConfiguration(
            f"this is {own} of cluster {own.cluster}, and the caller belongs to cluster "
            f"{hello.identity.cluster}: one of the two has a wrong address or data directory"
        )
    hello.identity = _certified(hello.identity, certificate)
    return hello


def welcome_from(header: Header, own: Identity, certificate: Certificate | None) -> Identity:
    """The server's identity; raises ``BadConfiguration`` if it is not one of our cluster, or not
    what its certificate says."""
    server = decode_body(_decode_welcome, header.body).identity
    if own.cluster not in ("", server.cluster):
        raise BadConfiguration(
            f"this is {server} of cluster {server.cluster}, and {own} belongs to cluster "
            f"{own.cluster}: one of the two has a wrong address or data directory"
        )
    return _certified(server, certificate)


def _certified(identity: Identity, certificate: Certificate | None) -> Identity:
    """What a peer declares, as far as its certificate allows it to."""
    if certificate is None:
        return msgspec.structs.replace(identity, certified="")
    is_client = identity.role == CLIENT_ROLE and identity.node == 0
    if not is_client and not certificate.is_node:
        raise BadConfiguration(
            f"the certificate of {certificate.name!r} is no machine's, and its owner speaks as"
            f" {identity}: give each node one of 'quorate ca issue NAME --node'"
        )
    return msgspec.structs.replace(identity, certified=certificate.name)
