"""The private certificate authority of a cluster: ``ca.pem`` and ``ca.key`` in one directory.

Whoever shows a certificate that it signed is let in, as a machine or as a user, whichever the
certificate says (rpc/handshake.py), so ``ca.key`` stays
on one machine, best one that is no node, readable by its owner alone.  There is no revocation: a
certificate is good until it ends.  If a key has leaked, make a new authority and new certificates.

Keys are elliptic (P-256), certificates for both sides of a connection, since machines are both.
"""

import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from quorate.base.errors import AlreadyExists, BadConfiguration, BadInput
from quorate.node.config import NAME_RULE
from quorate.node.private_file import PRIVATE, PUBLIC, make_file, make_folder
from quorate.raft.core.configuration import NAME
from quorate.runtime.real.tls import NODE_UNIT, USER_UNIT

DAYS = 3650
CLOCKS_APART = datetime.timedelta(minutes=10)
"""A certificate begins so long ago, for machines whose clocks are behind."""
CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca.key"


class Issued(msgspec.Struct, frozen=True):
    """Three texts in PEM format; ``key`` is secret."""

    ca: str
    cert: str
    key: str


def create_authority(directory: Path) -> None:
    """Make ``ca.pem`` and ``ca.key``; raises ``AlreadyExists`` if one of them is there."""
    for name in (KEY_FILE, CERTIFICATE_FILE):
        if (directory / name).exists():
            raise AlreadyExists(
                f"{directory / name} is there already: a cluster has one authority, and without its"
                " key no certificate can be added; name another directory."
            )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "quorate cluster authority")])
    public = key.public_key()
    certificate = (
        _builder(subject, public, DAYS)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    make_folder(directory)
    make_file(directory / KEY_FILE, _pem(key), PRIVATE)
    make_file(
        directory / CERTIFICATE_FILE,
        certificate.public_bytes(serialization.Encoding.PEM),
        PUBLIC,
    )


def issue(directory: Path, name: str, days: int = DAYS, *, is_node: bool) -> Issued:
    """A certificate and its key for the machine or user ``name``, at most as long as the
    authority's own lasts.  A user's lets nobody speak as a process of a node.

    Raises ``BadInput`` for what is no name, ``BadConfiguration`` if ``directory`` holds no usable
    authority.
    """
    if not NAME.fullmatch(name):
        raise BadInput(f"{name!r} is not a name: {NAME_RULE}.")
    ca, ca_key = _authority(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    unit = NODE_UNIT if is_node else USER_UNIT
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    both_sides = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, key.public_key(), days, ca.not_valid_after_utc)
        .issuer_name(ca.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both_sides), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Issued(
        ca.public_bytes(pem).decode(), certificate.public_bytes(pem).decode(), _pem(key).decode()
    )


def require_same(directory: Path, trusted: Path) -> None:
    """Raise ``BadConfiguration`` unless the authority in ``directory`` is in the file ``trusted``,
    by which a cluster was recognised."""
    own, _ = _authority(directory)
    try:
        known = x509.load_pem_x509_certificates(trusted.read_bytes())
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{trusted} cannot be read as certificates: {error}.") from error
    if own not in known:
        raise BadConfiguration(
            f"the authority in {directory} is not that of this cluster, which {trusted} holds: its"
            " certificate would let nobody in; name the folder of the cluster's own with --ca."
        )


def _authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE_FILE).read_bytes())
        key = serialization.load_pem_private_key((directory / KEY_FILE).read_bytes(), None)
        certificate.verify_directly_issued_by(certificate)
    except OSError as error:
        raise BadConfiguration(
            f"{directory} holds no authority ({error.filename}: {error.strerror}): make one with"
            " 'quorate ca init'."
        ) from error
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BadConfiguration(
            f"{directory} holds no usable authority: {CERTIFICATE_FILE} or {KEY_FILE} is damaged."
        ) from error
    public = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != public:
        raise BadConfiguration(
            f"{directory / KEY_FILE} is not the key of {directory / CERTIFICATE_FILE}."
        )
    return certificate, key


def _builder(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    days: int,
    latest: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(end if latest is None else min(end, latest))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
