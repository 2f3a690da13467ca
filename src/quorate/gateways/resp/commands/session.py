"""Commands about the connection itself: HELLO, AUTH, CLIENT, MULTI and their relatives."""

import hmac
from typing import TYPE_CHECKING

from quorate.gateways.resp import encoder, transaction
from quorate.gateways.resp.commands.entry import (
    SYNTAX,
    CommandError,
    Entry,
    number,
    wrong_arity,
)
from quorate.gateways.resp.parser import Args

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

REDIS_VERSION = "7.4.0"
"""Whose commands these are like; clients ask for it to know what they may use."""
NO_PASSWORD = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled."
HELLO_FIRST = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
    "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP "
    "protocol version at the same time"
)
BAD_NAME = "ERR Client names cannot contain spaces, newlines or special characters."
MAX_NAME_BYTES = 256
_MISSING = (b"KILL", b"PAUSE", b"UNPAUSE", b"UNBLOCK", b"TRACKING", b"TRACKINGINFO", b"CACHING")
_TYPES = (b"normal", b"master", b"replica", b"slave", b"pubsub")


def ping(connection: "RespConnection", args: Args) -> bytes:
    if len(args) > 2:
        return wrong_arity("ping")
    return encoder.bulk(args[1]) if len(args) == 2 else encoder.PONG


def echo(connection: "RespConnection", args: Args) -> bytes:
    return encoder.bulk(args[1])


def select(connection: "RespConnection", args: Args) -> bytes:
    if number(args[1]) != 0:
        raise CommandError("ERR DB index is out of range")
    return encoder.OK


def auth(connection: "RespConnection", args: Args) -> None:
    if len(args) > 3:
        connection.done(encoder.error(SYNTAX))
        return
    user = args[1] if len(args) == 3 else b"default"
    if len(args) == 2 and not connection.gateway.settings.password:
        connection.done(encoder.error(NO_PASSWORD))
    elif _let_in(connection, user, args[-1]):
        connection.done(encoder.OK)
    else:
        connection.done(encoder.error(WRONG_PASSWORD))


def _let_in(connection: "RespConnection", user: bytes, password: bytes) -> bool:
    wanted = connection.gateway.settings.password.encode()
    # Without a password the default user has none to be wrong, as Redis' "nopass".
    fits = not wanted or hmac.compare_digest(wanted, password)
    if user != b"default" or not fits:
        return False
    connection.is_known = True
    return True


def hello(connection: "RespConnection", args: Args) -> None:
    try:
        connection.done(_hello(connection, args))
    except CommandError as error:
        connection.done(encoder.error(str(error)))


def _hello(connection: "RespConnection", args: Args) -> bytes:
    protocol = connection.protocol
    if len(args) > 1:
        try:
            protocol = number(args[1])
        except CommandError:
            told = "ERR Protocol version is not an integer or out of range"
            raise CommandError(told) from None
        if protocol not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
    name = None
    rest = list(args[2:])
    while rest:
        match rest[0].upper(), len(rest):
            case b"AUTH", there if there >= 3:
                if not _let_in(connection, rest[1], rest[2]):
                    raise CommandError(WRONG_PASSWORD)
                del rest[:3]
            case b"SETNAME", there if there >= 2:
                name = _name(rest[1])
                del rest[:2]
            case _:
                word = rest[0][:64].decode("utf-8", "replace")
                raise CommandError(f"ERR Syntax error in HELLO option '{word}'")
    if not connection.is_known:
        raise CommandError(HELLO_FIRST)
    connection.protocol = protocol
    if name is not None:
        connection.name = name
    facts: dict[str, encoder.Shown] = {
        "server": "redis",
        "version": REDIS_VERSION,
        "proto": protocol,
        "id": connection.number,
        "mode": "standalone",
        "role": "master",
        "modules": [],
    }
    return encoder.shown(facts, protocol)


def _name(name: bytes) -> bytes:
    if len(name) > MAX_NAME_BYTES or any(not 0x21 <= byte <= 0x7E for byte in name):
        raise CommandError(BAD_NAME)
    return name


def quit_(connection: "RespConnection", args: Args) -> None:
    connection.done(encoder.OK)
    connection.end()


def reset(connection: "RespConnection", args: Args) -> None:
    connection.reset()
    connection.done(b"+RESET\r\n")


def readonly(connection: "RespConnection", args: Args) -> None:
    connection.reads_locally = True
    connection.done(encoder.OK)


def readwrite(connection: "RespConnection", args: Args) -> None:
    connection.reads_locally = False
    connection.done(encoder.OK)


def client(connection: "RespConnection", args: Args) -> None:
    if args[1].upper() == b"REPLY" and len(args) == 3:
        connection.answers(args[2].upper())
        return
    try:
        connection.done(_client(connection, args))
    except CommandError as error:
        connection.done(encoder.error(str(error)))


def _client(connection: "RespConnection", args: Args) -> bytes:
    match [args[1].upper(), *args[2:]]:
        case [b"ID"]:
            return encoder.integer(connection.number)
        case [b"INFO"]:
            return encoder.verbatim(connection.description() + "\n", connection.protocol)
        case [b"LIST", *filters]:
            return _list(connection, filters)
        case [b"SETNAME", name]:
            connection.name = _name(name)
            return encoder.OK
        case [b"GETNAME"]:
            return encoder.shown(connection.name or None, connection.protocol)
        case [b"SETINFO", word, content]:
            return _set_info(connection, word.upper(), content)
        case [b"NO-EVICT" | b"NO-TOUCH", word] if word.upper() in (b"ON", b"OFF"):
            return encoder.OK
        case [b"GETREDIR"]:
            return encoder.integer(-1)
        case [b"SETNAME" | b"SETINFO" | b"ID" | b"INFO" | b"GETNAME" | b"REPLY", *_]:
            return wrong_arity(f"client|{args[1].decode().lower()}")
        case [word, *_] if word in _MISSING:
            return encoder.error(f"ERR quorate does not have CLIENT {word.decode()} yet")
        case [b"NO-EVICT" | b"NO-TOUCH", *_]:
            return encoder.error(SYNTAX)
        case _:
            told = args[1][:64].decode("utf-8", "replace")
            return encoder.error(f"ERR unknown subcommand '{told}'. Try CLIENT HELP.")


def _list(connection: "RespConnection", filters: list[bytes]) -> bytes:
    found = connection.gateway.connections
    match filters:
        case []:
            chosen = list(found.values())
        case [word, kind] if word.upper() == b"TYPE":
            if kind.lower() not in _TYPES:
                told = kind[:64].decode("utf-8", "replace")
                raise CommandError(f"ERR Unknown client type '{told}'")
            chosen = list(found.values()) if kind.lower() == b"normal" else []
        case [word, *numbers] if word.upper() == b"ID" and numbers:
            if not all(text.isdigit() and len(text) < 20 for text in numbers):
                raise CommandError("ERR Invalid client ID")
            chosen = [found[int(text)] for text in numbers if int(text) in found]
        case _:
            raise CommandError(SYNTAX)
    text = "".join(f"{other.description()}\n" for other in chosen)
    return encoder.verbatim(text, connection.protocol)


def _set_info(connection: "RespConnection", word: bytes, content: bytes) -> bytes:
    if word not in (b"LIB-NAME", b"LIB-VER"):
        shown = word[:64].decode("utf-8", "replace")
        raise CommandError(f"ERR Unrecognized option '{shown}'")
    if len(content) > MAX_NAME_BYTES or any(not 0x21 <= byte <= 0x7E for byte in content):
        raise CommandError(
            f"ERR {word.decode().lower()} cannot contain spaces, newlines or special characters."
        )
    name, version = connection.library
    told = content.decode()
    connection.library = (told, version) if word == b"LIB-NAME" else (name, told)
    return encoder.OK


_NONE = (0, 0, 0)
_make = Entry.make
_OPEN = "noscript loading stale fast no_auth"
ENTRIES = [
    _make("auth", -2, _OPEN, _NONE, "connection", "Log in.", alone=auth),
    _make("client", -2, "noscript loading stale", _NONE, "connection",
          "ID, INFO, LIST, SETNAME, GETNAME, SETINFO, REPLY, NO-EVICT, NO-TOUCH, GETREDIR.",
          alone=client),
    _make("discard", 1, "noscript loading stale fast", _NONE, "transactions",
          "Forget the queued commands.", alone=transaction.discard),
    _make("echo", 2, "loading stale fast", _NONE, "connection", "The argument.", answer=echo),
    _make("exec", 1, "noscript loading stale", _NONE, "transactions",
          "Do the queued commands, together.", alone=transaction.execute),
    _make("hello", -1, _OPEN, _NONE, "connection", "Choose RESP2 or RESP3.", alone=hello),
    _make("multi", 1, "noscript loading stale fast", _NONE, "transactions",
          "Queue what follows.", alone=transaction.multi),
    _make("ping", -1, "fast", _NONE, "connection", "PONG, or the argument.", answer=ping),
    _make("quit", -1, _OPEN, _NONE, "connection", "Close the connection.", alone=quit_),
    _make("readonly", 1, "loading stale fast", _NONE, "connection",
          "Read what this node has, however old it is.", alone=readonly),
    _make("readwrite", 1, "loading stale fast", _NONE, "connection",
          "Read what is true now: as it is at first.", alone=readwrite),
    _make("reset", 1, _OPEN, _NONE, "connection", "As if newly connected.", alone=reset),
    _make("select", 2, "loading stale fast", _NONE, "connection", "Database 0.", answer=select),
    _make("unwatch", 1, "noscript loading stale fast", _NONE, "transactions",
          "Forget the watched keys.", alone=transaction.unwatch),
    _make("watch", -2, "noscript loading stale fast", (1, -1, 1), "transactions",
          "Let EXEC do nothing if one of the keys is touched.", alone=transaction.watch),
]  # fmt: skip
"""What is in this file."""
