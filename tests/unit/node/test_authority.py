"""The private authority: what it signs is accepted, and its key is nobody else's to read."""

import stat
from pathlib import Path

import pytest
from cryptography import x509

from quorate.base.errors import AlreadyExists, BadConfiguration, BadInput
from quorate.node.authority import create_authority, issue, require_same
from quorate.node.private_file import PRIVATE, make_file
from quorate.runtime.real.tls import TlsPaths, tls_contexts


def test_an_issued_certificate_and_its_key_fit_the_authority(tmp_path: Path) -> None:
    create_authority(tmp_path / "ca")
    issued = issue(tmp_path / "ca", "n4", is_node=True)
    for name, text in (("ca.pem", issued.ca), ("cert", issued.cert), ("key", issued.key)):
        make_file(tmp_path / name, text.encode(), PRIVATE)
    tls_contexts(TlsPaths(tmp_path / "ca.pem", tmp_path / "cert", tmp_path / "key"))
    signed = x509.load_pem_x509_certificate(issued.cert.encode())
    authority = x509.load_pem_x509_certificate(issued.ca.encode())
    signed.verify_directly_issued_by(authority)
    assert signed.not_valid_after_utc <= authority.not_valid_after_utc


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    create_authority(tmp_path)
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("left", ["ca.pem", "ca.key"])
def test_an_authority_is_never_overwritten(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("precious")
    with pytest.raises(AlreadyExists, match="is there already"):
        create_authority(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [left]
    assert (tmp_path / left).read_text() == "precious"


def test_what_is_no_authority_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="holds no authority"):
        issue(tmp_path, "n4", is_node=True)
    create_authority(tmp_path / "one")
    create_authority(tmp_path / "two")
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    with pytest.raises(BadConfiguration, match="is not the key of"):
        issue(tmp_path / "one", "n4", is_node=True)
    (tmp_path / "two" / "ca.key").write_text("nonsense")
    with pytest.raises(BadConfiguration, match="is damaged"):
        issue(tmp_path / "two", "n4", is_node=True)


def test_only_an_authority_that_the_cluster_trusts_is_the_same(tmp_path: Path) -> None:
    for name in ("own", "other"):
        create_authority(tmp_path / name)
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join((tmp_path / n / "ca.pem").read_bytes() for n in ("other", "own")))
    for trusted in (tmp_path / "own" / "ca.pem", both):
        require_same(tmp_path / "own", trusted)
    with pytest.raises(BadConfiguration, match="is not that of this cluster"):
        require_same(tmp_path / "own", tmp_path / "other" / "ca.pem")
    both.write_text("nonsense")
    with pytest.raises(BadConfiguration, match=r"both\.pem cannot be read"):
        require_same(tmp_path / "own", both)


@pytest.mark.parametrize("name", ["", "../n4", "n" * 64, "a b"])
def test_what_is_no_name_gets_no_certificate(tmp_path: Path, name: str) -> None:
    create_authority(tmp_path)
    with pytest.raises(BadInput, match="is not a name"):
        issue(tmp_path, name, is_node=False)
