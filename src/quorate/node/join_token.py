"""The token by which a new machine enters a cluster: text that can be pasted into a command.

    base64url( MessagePack [version, cluster, name, …], CRC32C of that )

It says where the cluster is and, if that speaks TLS, holds a certificate that its authority signed
for this machine, and the key: so it is as secret as a key.  When it has expired ``quorate join``
refuses it; the certificate in it lasts as long as any other.
"""

import base64
import binascii

import msgspec

from quorate.base.checksum import crc32c
from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.errors import BadConfiguration, BadInput
from quorate.base.ids import Address, ClusterId

VERSION = 1
MAX_CHARACTERS = 64 * 1024
_CHECKSUM_BYTES = 4


class JoinToken(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """``version`` stays first for ever, whatever follows changes."""

    version: int
    cluster: ClusterId
    name: str
    """Of the new machine."""
    seeds: tuple[Address, ...]
    """The doors of machines that belonged to the cluster when the token was made."""
    founders: dict[str, Address]
    """The machines that founded the cluster, and where they are or were."""
    expires_ms: int
    """Milliseconds since 1970."""
    ca: str = ""
    cert: str = ""
    key: str = ""
    """PEM texts; empty for a cluster without TLS."""


class _Version(msgspec.Struct, array_like=True):
    version: int


def text_of(token: JoinToken) -> str:
    """The token as a user passes it on."""
    data = encode(token)
    checksum = crc32c(data).to_bytes(_CHECKSUM_BYTES, "big")
    return base64.urlsafe_b64encode(data + checksum).decode().rstrip("=")


def token_of(text: str) -> JoinToken:
    """What ``text`` says; raises ``BadInput`` if it is no whole token, ``BadConfiguration`` if it
    is one of a newer version."""
    text = "".join(text.split())
    broken = BadInput(
        "this is no whole join token: copy all that 'quorate cluster token' printed, which is one"
        " line, or pass it as @FILE."
    )
    if not text.isascii() or len(text) > MAX_CHARACTERS:
        raise broken
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise broken from None
    data, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if crc32c(data).to_bytes(_CHECKSUM_BYTES, "big") != checksum or not data:
        raise broken
    try:
        version = decode(data, _Version).version
        if version != VERSION:
            raise BadConfiguration(
                f"this join token has version {version} and this quorate reads version {VERSION}:"
                " run the same release of quorate on both machines."
            )
        token: JoinToken = decode(data, JoinToken)
    except UNREADABLE:
        raise broken from None
    return token
