"""Mutual TLS between the machines of a cluster: three paths, one private authority.

Both sides show a certificate that the cluster's own authority signed; TLS 1.3 only.  Its common
name says who that is, and its organizational unit whether it is a machine (``NODE_UNIT``).
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quorate.base.errors import BadConfiguration
from quorate.runtime.ports import Certificate

NODE_UNIT = "quorate node"
USER_UNIT = "quorate user"


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """``[tls]`` of the configuration: PEM files."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TlsContexts:
    server: ssl.SSLContext
    client: ssl.SSLContext


def tls_contexts(paths: TlsPaths) -> TlsContexts:
    """Contexts for both sides; raises ``BadConfiguration`` naming the file that does not fit."""
    return TlsContexts(
        _context(ssl.PROTOCOL_TLS_SERVER, paths), _context(ssl.PROTOCOL_TLS_CLIENT, paths)
    )


def _context(side: int, paths: TlsPaths) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The private authority is the only root of trust, so its signature says who is let in; whether
    # that is a machine, and which, is compared with what the handshake declares (rpc/handshake.py).
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    for name, path in (("ca", paths.ca), ("cert", paths.cert), ("key", paths.key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadConfiguration(
                f"the file {path} of [tls] {name} cannot be read: {error.strerror}"
            ) from error
    try:
        context.load_verify_locations(cafile=paths.ca)
    except (ssl.SSLError, ValueError) as error:
        raise BadConfiguration(
            f"the file {paths.ca} of [tls] ca holds no certificate in PEM format"
        ) from error
    try:
        # An encrypted key would make OpenSSL ask on the terminal; an empty password fails instead.
        context.load_cert_chain(paths.cert, paths.key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BadConfiguration(
            f"the files {paths.cert} and {paths.key} of [tls] are not a certificate and its "
            f"unencrypted key in PEM format ({reason})"
        ) from error
    return context


def certificate_of(decoded: Mapping[str, Any]) -> Certificate:
    """That of a peer, as ``ssl`` gives it after it has verified it."""
    subject = {field: value for part in decoded.get("subject", ()) for field, value in part}
    is_node = subject.get("organizationalUnitName") == NODE_UNIT
    return Certificate(subject.get("commonName", ""), is_node)
