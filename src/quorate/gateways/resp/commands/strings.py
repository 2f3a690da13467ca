"""Strings: GET, SET and their relatives."""

from typing import TYPE_CHECKING, Any

from quorate.gateways.resp import encoder
from quorate.gateways.resp.commands.entry import (
    SYNTAX,
    Asked,
    CommandError,
    Entry,
    Show,
    count,
    number,
    ok,
    one_or_zero,
    options,
    text,
    time_ms,
)
from quorate.gateways.resp.parser import Args
from quorate.kv.core.commands import (
    Add,
    AddDecimal,
    Append,
    Get,
    GetExpire,
    GetMany,
    GetRange,
    Length,
    Put,
    PutMany,
    Set,
    SetRange,
    Take,
    When,
)
from quorate.kv.core.numbers import SMALLEST

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

MAX_REPLY_BYTES = 64 << 20
"""Of the values that one MGET gives."""
UNITS_MS = {b"EX": 1000, b"PX": 1, b"EXAT": 1000, b"PXAT": 1}


# How replies are shown.


def texts(reply: list[bytes | None], connection: "RespConnection") -> bytes:
    if sum(len(value) for value in reply if value is not None) > MAX_REPLY_BYTES:
        return encoder.error(
            f"ERR these values have more than {MAX_REPLY_BYTES} bytes: ask for fewer at once"
        )
    nil = encoder.nil(connection.protocol)
    return encoder.array([nil if value is None else encoder.bulk(value) for value in reply])


def if_set(reply: list[Any], connection: "RespConnection") -> bytes:
    """OK, or nil if the condition did not hold."""
    return encoder.OK if reply[0] else encoder.nil(connection.protocol)


def one_if_set(reply: list[Any], connection: "RespConnection") -> bytes:
    return one_or_zero(reply[0], connection)


def before(reply: list[Any], connection: "RespConnection") -> bytes:
    """The value until then."""
    return text(reply[1], connection)


# What commands ask of the store.


def get(args: Args) -> Asked:
    return Get(args[1]), text


def set_(args: Args) -> Asked:
    if len(args) == 3:
        return Put(args[1], args[2]), ok
    operation = Set(args[1], args[2])
    has_end = False
    words = iter(args[3:])
    for word in words:
        match word.upper():
            case b"NX" | b"XX" as when if operation.when is When.ALWAYS:
                operation.when = When.ABSENT if when == b"NX" else When.PRESENT
            case b"GET" if not operation.give:
                operation.give = True
            case b"KEEPTTL" if not has_end:
                operation.keep_ttl = has_end = True
            case b"EX" | b"PX" | b"EXAT" | b"PXAT" as unit if not has_end:
                has_end = True
                end_ms = time_ms(_next(words), UNITS_MS[unit], "set")
                if unit.endswith(b"AT"):
                    operation.at_ms = end_ms
                else:
                    operation.ttl_ms = end_ms
            case _:
                raise CommandError(SYNTAX)
    return operation, before if operation.give else if_set


def _next(words: Any) -> bytes:
    word: bytes | None = next(words, None)
    if word is None:
        raise CommandError(SYNTAX)
    return word


def setex(args: Args) -> Asked:
    return Set(args[1], args[3], ttl_ms=time_ms(args[2], 1000, "setex")), ok


def psetex(args: Args) -> Asked:
    return Set(args[1], args[3], ttl_ms=time_ms(args[2], 1, "psetex")), ok


def setnx(args: Args) -> Asked:
    return Set(args[1], args[2], when=When.ABSENT), one_if_set


def getset(args: Args) -> Asked:
    return Set(args[1], args[2], give=True), before


def getdel(args: Args) -> Asked:
    return Take(args[1]), text


def getex(args: Args) -> Asked:
    match options(args, 2):
        case []:
            return GetExpire(args[1]), text
        case [b"PERSIST"]:
            return GetExpire(args[1], persist=True), text
        case [(b"EX" | b"PX") as unit, _]:
            ttl_ms = time_ms(args[3], UNITS_MS[unit], "getex")
            return GetExpire(args[1], ttl_ms=ttl_ms), text
        case [(b"EXAT" | b"PXAT") as unit, _]:
            at_ms = time_ms(args[3], UNITS_MS[unit], "getex")
            return GetExpire(args[1], at_ms=at_ms), text
        case _:
            raise CommandError(SYNTAX)


def mget(args: Args) -> Asked:
    return GetMany(list(args[1:])), texts


def _pairs(args: Args, name: str) -> list[tuple[bytes, bytes | int]]:
    if len(args) % 2 == 0:
        raise CommandError(f"ERR wrong number of arguments for '{name}' command")
    return list(zip(args[1::2], args[2::2], strict=True))


def mset(args: Args) -> Asked:
    return PutMany(_pairs(args, "mset")), ok


def msetnx(args: Args) -> Asked:
    return PutMany(_pairs(args, "msetnx"), When.ABSENT), one_or_zero


def append(args: Args) -> Asked:
    return Append(args[1], args[2]), count


def strlen(args: Args) -> Asked:
    return Length(args[1]), count


def setrange(args: Args) -> Asked:
    offset = number(args[2])
    if offset < 0:
        raise CommandError("ERR offset is out of range")
    return SetRange(args[1], offset, args[3]), count


def getrange(args: Args) -> Asked:
    show: Show = text
    return GetRange(args[1], number(args[2]), number(args[3])), show


def incr(args: Args) -> Asked:
    return Add(args[1], 1), count


def decr(args: Args) -> Asked:
    return Add(args[1], -1), count


def incrby(args: Args) -> Asked:
    return Add(args[1], number(args[2])), count


def decrby(args: Args) -> Asked:
    by = number(args[2])
    if by == SMALLEST:
        raise CommandError("ERR decrement would overflow")
    return Add(args[1], -by), count


def incrbyfloat(args: Args) -> Asked:
    return AddDecimal(args[1], args[2]), text


_ONE = (1, 1, 1)
_make = Entry.make
ENTRIES = [
    _make("append", 3, "write denyoom fast", _ONE, "string", "Append to a value.", parse=append),
    _make("decr", 2, "write denyoom fast", _ONE, "string", "Subtract one.", parse=decr),
    _make("decrby", 3, "write denyoom fast", _ONE, "string", "Subtract.", parse=decrby),
    _make("get", 2, "readonly fast", _ONE, "string", "The value of a key.", parse=get),
    _make("getdel", 2, "write fast", _ONE, "string", "The value; deletes the key.", parse=getdel),
    _make("getex", -2, "write fast", _ONE, "string", "The value; moves the end.", parse=getex),
    _make("getrange", 4, "readonly", _ONE, "string", "Part of a value.", parse=getrange),
    _make("getset", 3, "write denyoom fast", _ONE, "string", "Set; what was there.", parse=getset),
    _make("incr", 2, "write denyoom fast", _ONE, "string", "Add one.", parse=incr),
    _make("incrby", 3, "write denyoom fast", _ONE, "string", "Add an integer.", parse=incrby),
    _make("incrbyfloat", 3, "write denyoom fast", _ONE, "string", "Add a decimal fraction.",
          parse=incrbyfloat),
    _make("mget", -2, "readonly fast", (1, -1, 1), "string", "The values of keys.", parse=mget),
    _make("mset", -3, "write denyoom", (1, -1, 2), "string", "Set several keys.", parse=mset),
    _make("msetnx", -3, "write denyoom", (1, -1, 2), "string",
          "Set several keys if none is there.", parse=msetnx),
    _make("psetex", 4, "write denyoom", _ONE, "string", "Set, to end in milliseconds.",
          parse=psetex),
    _make("set", -3, "write denyoom", _ONE, "string", "Set a key.", parse=set_),
    _make("setex", 4, "write denyoom", _ONE, "string", "Set, to end in seconds.", parse=setex),
    _make("setnx", 3, "write denyoom fast", _ONE, "string", "Set a key if it is absent.",
          parse=setnx),
    _make("setrange", 4, "write denyoom", _ONE, "string", "Overwrite part of a value.",
          parse=setrange),
    _make("strlen", 2, "readonly fast", _ONE, "string", "The length of a value.", parse=strlen),
    _make("substr", 4, "readonly", _ONE, "string", "Part of a value: GETRANGE.", parse=getrange),
]  # fmt: skip
"""What is in this file."""
