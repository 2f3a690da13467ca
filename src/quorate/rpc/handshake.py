"""The handshake: who talks to whom, in which protocol, about which cluster.

The client's first frame is ``Hello`` and it sends nothing else before ``Welcome``: a request can
then not overtake the handshake, even where frames are reordered.  A server that refuses says why
in one ``error`` frame and closes.  A repeated hello or welcome is ignored.

Both sides compare cluster ids, so that a wrong address, or a machine that was reinstalled for
another cluster, cannot mix data.  Only a command-line client may come without one.
"""

from typing import Annotated, Literal

import msgspec

from quorate.base.errors import BadConfiguration, ProtocolError
from quorate.base.ids import ClusterId, NodeId
from quorate.rpc.frames import HELLO, KIND_NAMES, Header, decode_body

PROTOCOL_VERSION = 1
HELLO_TIMEOUT_MS = 2000
"""How long a server waits for the hello of a connection that it accepted."""


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


def hello_from(header: Header, own: Identity) -> Hello:
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
    return hello


def welcome_from(header: Header, own: Identity) -> Identity:
    """The server's identity; raises ``BadConfiguration`` if it is not one of our cluster."""
    server = decode_body(_decode_welcome, header.body).identity
    if own.cluster not in ("", server.cluster):
        raise BadConfiguration(
            f"this is {server} of cluster {server.cluster}, and {own} belongs to cluster "
            f"{own.cluster}: one of the two has a wrong address or data directory"
        )
    return server
