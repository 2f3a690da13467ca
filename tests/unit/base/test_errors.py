"""Errors cross the network as the same class, with sentence and details."""

import pytest

from quorate.base import errors
from quorate.base.codec import decode, encode
from quorate.base.errors import ErrorInfo, QuorateError, Unavailable, error_from

CLASSES = sorted(
    (value for value in vars(errors).values() if isinstance(value, type)), key=lambda c: c.__name__
)
ERRORS = [c for c in CLASSES if issubclass(c, QuorateError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_arrives_as_what_it_was(kind: type[QuorateError]) -> None:
    sent = kind("what happened, where", node=3, message="a detail may be called anything")
    info = decode(encode(sent.info()), ErrorInfo)
    got = error_from(info)
    assert type(got) is kind
    assert (got.message, got.details, str(got)) == (sent.message, sent.details, sent.message)


def test_codes_name_one_class_each() -> None:
    codes = [kind.code for kind in ERRORS]
    assert len(set(codes)) == len(codes)


def test_every_error_ends_the_command_line_with_a_failure() -> None:
    assert all(0 < kind.exit_code < 126 for kind in ERRORS)


def test_an_error_of_a_newer_build_is_still_an_error() -> None:
    got = error_from(ErrorInfo("from_the_future", "not known here", {"a": 1}))
    assert type(got) is QuorateError
    assert (got.message, got.details) == ("not known here", {"a": 1})


@pytest.mark.parametrize("kind", [errors.NotLeader, errors.Overloaded, errors.DeadlineExceeded])
def test_what_surely_was_not_done_is_unavailable(kind: type[QuorateError]) -> None:
    assert issubclass(kind, Unavailable)


def test_an_expired_session_is_a_maybe() -> None:
    assert issubclass(errors.SessionExpired, errors.Maybe)
    assert not issubclass(errors.Maybe, Unavailable)
