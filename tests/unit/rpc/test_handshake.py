"""The handshake: who is let in, and what the others are told."""

import msgspec
import pytest

from quorate.base.codec import encode
from quorate.base.errors import BadConfiguration, ProtocolError
from quorate.base.ids import ClusterId, NodeId
from quorate.rpc.frames import HELLO, REQUEST, WELCOME, Header
from quorate.rpc.handshake import (
    PROTOCOL_VERSION,
    Hello,
    Identity,
    Welcome,
    hello_from,
    welcome_from,
)
from quorate.runtime.ports import Certificate

HERE = Identity(ClusterId("a" * 32), NodeId(2), "raft")
PEER = Identity(ClusterId("a" * 32), NodeId(1), "chunkserver")
STRANGER = Identity(ClusterId("b" * 32), NodeId(1), "raft")
NEW_CLIENT = Identity(ClusterId(""), NodeId(0), "client")


def header(body: object, kind: int = HELLO) -> Header:
    return Header(kind, 0, 0, msgspec.Raw(encode(body)))


@pytest.mark.parametrize("identity", [PEER, NEW_CLIENT])
def test_members_and_clients_that_know_no_cluster_yet_are_let_in(identity: Identity) -> None:
    hello = Hello(PROTOCOL_VERSION, "bulk", identity)
    assert hello_from(header(hello), HERE, None) == hello


def test_another_cluster_is_refused_in_one_sentence_that_names_both() -> None:
    with pytest.raises(BadConfiguration) as caught:
        hello_from(header(Hello(PROTOCOL_VERSION, "control", STRANGER)), HERE, None)
    assert caught.value.message == (
        f"this is raft of node 2 of cluster {'a' * 32}, and the caller belongs to cluster "
        f"{'b' * 32}: one of the two has a wrong address or data directory"
    )


def test_another_protocol_version_is_refused_whatever_else_its_hello_holds() -> None:
    with pytest.raises(BadConfiguration, match="speaks version 9"):
        hello_from(header([9, {"something": "else"}]), HERE, None)


@pytest.mark.parametrize(
    "body", [7, [], ["1"], [PROTOCOL_VERSION], [PROTOCOL_VERSION, "video", PEER]]
)
def test_a_malformed_hello_is_a_protocol_error(body: object) -> None:
    with pytest.raises(ProtocolError):
        hello_from(header(body), HERE, None)


def test_a_first_frame_that_is_not_hello_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match=r"must be hello.*request"):
        hello_from(header(Hello(PROTOCOL_VERSION, "control", PEER), REQUEST), HERE, None)


def test_the_client_learns_who_answers() -> None:
    assert welcome_from(header(Welcome(HERE), WELCOME), PEER, None) == HERE
    assert welcome_from(header(Welcome(STRANGER), WELCOME), NEW_CLIENT, None) == STRANGER


def test_the_client_too_refuses_another_cluster() -> None:
    with pytest.raises(BadConfiguration, match="belongs to cluster"):
        welcome_from(header(Welcome(STRANGER), WELCOME), HERE, None)


USER, MACHINE = Certificate("ann", is_node=False), Certificate("n1", is_node=True)


@pytest.mark.parametrize("role", ["raft", "client"])
def test_only_a_machine_s_certificate_bears_out_a_node(role: str) -> None:
    """Also not a client that says which node it is on."""
    declared = Identity(HERE.cluster, NodeId(1), role, certified="n9")
    hello = header(Hello(PROTOCOL_VERSION, "control", declared))
    assert hello_from(hello, HERE, None).identity.certified == ""
    assert hello_from(hello, HERE, MACHINE).identity.certified == "n1"
    with pytest.raises(BadConfiguration, match="'ann' is no machine's"):
        hello_from(hello, HERE, USER)
    with pytest.raises(BadConfiguration, match="'ann' is no machine's"):
        welcome_from(header(Welcome(declared), WELCOME), HERE, USER)


def test_a_user_is_a_client_and_known_by_name() -> None:
    hello = header(Hello(PROTOCOL_VERSION, "control", NEW_CLIENT))
    assert hello_from(hello, HERE, USER).identity.certified == "ann"
