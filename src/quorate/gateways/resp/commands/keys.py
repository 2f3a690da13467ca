"""Keys, whatever their values: DEL, EXPIRE, SCAN and their relatives."""

from typing import TYPE_CHECKING, Any

from quorate.gateways.resp import encoder
from quorate.gateways.resp.commands import pages
from quorate.gateways.resp.commands.entry import (
    MAX_TIME_MS,
    SYNTAX,
    Asked,
    CommandError,
    Entry,
    NotHere,
    Show,
    count,
    number,
    ok,
    one_or_zero,
    options,
)
from quorate.gateways.resp.parser import Args
from quorate.gateways.resp.patterns import pattern
from quorate.kv.core.commands import (
    Clear,
    Copy,
    Delete,
    Exists,
    Expire,
    ExpiresAt,
    Get,
    Persist,
    Rename,
    Revision,
    Scan,
    Size,
    When,
)
from quorate.kv.core.looks import ENDLESS

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

SCAN_COUNT = 10
_EMBEDDED_BYTES = 44
"""Redis keeps a string up to this length beside its key, and says so."""
_LARGEST_CURSOR = (1 << 64) - 1


# How replies are shown.


def kind(reply: int, connection: "RespConnection") -> bytes:
    return b"+string\r\n" if reply else b"+none\r\n"


def moment(unit_ms: int, *, is_left: bool) -> Show:
    """Shows a key's end: as it is, or (``is_left``) how far away."""

    def show(at_ms: int, connection: "RespConnection") -> bytes:
        if at_ms <= ENDLESS:
            return encoder.integer(at_ms)
        # A moment before log time is told of: the key is there as long as log time says so.
        shown_ms = max(0, at_ms - connection.time_ms()) if is_left else at_ms
        return encoder.integer((shown_ms + unit_ms // 2) // unit_ms)

    return show


def encoding(reply: bytes | None, connection: "RespConnection") -> bytes:
    if reply is None:
        return encoder.nil(connection.protocol)
    try:
        number(reply)
    except CommandError:
        return encoder.bulk(b"embstr" if len(reply) <= _EMBEDDED_BYTES else b"raw")
    return encoder.bulk(b"int")


def one_reference(reply: int, connection: "RespConnection") -> bytes:
    return encoder.integer(1) if reply else encoder.nil(connection.protocol)


def scanned(glob: bytes | None, is_string: bool) -> Show:
    """Shows a page of keys, those that match."""
    matches = pattern(glob) if glob is not None else None

    def show(reply: list[Any], connection: "RespConnection") -> bytes:
        cursor, keys = reply
        if matches is not None:
            keys = [key for key in keys if matches(key)]
        found = [encoder.bulk(key) for key in keys] if is_string else []
        return encoder.array([encoder.bulk(b"%d" % cursor), encoder.array(found)])

    return show


# What commands ask of the store.


def delete(args: Args) -> Asked:
    return Delete(list(args[1:])), count


def exists(args: Args) -> Asked:
    return Exists(list(args[1:])), count


def type_(args: Args) -> Asked:
    return Exists([args[1]]), kind


def persist(args: Args) -> Asked:
    return Persist(args[1]), count


def rename(args: Args) -> Asked:
    return Rename(args[1], args[2]), ok


def renamenx(args: Args) -> Asked:
    return Rename(args[1], args[2], When.ABSENT), one_or_zero


def copy(args: Args) -> Asked:
    replace = False
    words = options(args, 3)
    while words:
        match words:
            case [b"REPLACE", *words]:
                replace = True
            case [b"DB", database, *words]:
                if number(database) != 0:
                    raise CommandError("ERR DB index is out of range")
            case _:
                raise CommandError(SYNTAX)
    if args[1] == args[2]:
        raise CommandError("ERR source and destination objects are the same")
    return Copy(args[1], args[2], replace), count


def _expire(args: Args, unit_ms: int, *, is_moment: bool) -> Asked:
    words = options(args, 3)
    for word in words:
        if word not in (b"NX", b"XX", b"GT", b"LT"):
            raise CommandError(f"ERR Unsupported option {word.decode('utf-8', 'replace').lower()}")
    if b"NX" in words and len(set(words)) > 1:
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in words and b"LT" in words:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    end_ms = number(args[2]) * unit_ms
    if abs(end_ms) >= MAX_TIME_MS:
        name = args[0].decode("utf-8", "replace").lower()
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    if b"XX" in words and b"LT" in words:
        only = "XX LT"
    else:  # XX says nothing beside GT: no end is later than any
        only = next((word.decode() for word in words if word != b"XX"), "XX" if words else "")
    if is_moment:
        return Expire(args[1], at_ms=end_ms, only=only), count
    return Expire(args[1], ttl_ms=end_ms, only=only), count


def expire(args: Args) -> Asked:
    return _expire(args, 1000, is_moment=False)


def pexpire(args: Args) -> Asked:
    return _expire(args, 1, is_moment=False)


def expireat(args: Args) -> Asked:
    return _expire(args, 1000, is_moment=True)


def pexpireat(args: Args) -> Asked:
    return _expire(args, 1, is_moment=True)


_TTL, _PTTL = moment(1000, is_left=True), moment(1, is_left=True)
_EXPIRETIME, _PEXPIRETIME = moment(1000, is_left=False), moment(1, is_left=False)


def ttl(args: Args) -> Asked:
    return ExpiresAt(args[1]), _TTL


def pttl(args: Args) -> Asked:
    return ExpiresAt(args[1]), _PTTL


def expiretime(args: Args) -> Asked:
    return ExpiresAt(args[1]), _EXPIRETIME


def pexpiretime(args: Args) -> Asked:
    return ExpiresAt(args[1]), _PEXPIRETIME


def object_(args: Args) -> Asked:
    match args[1].upper(), len(args):
        case b"ENCODING", 3:
            return Get(args[2]), encoding
        case b"REFCOUNT", 3:
            return Exists([args[2]]), one_reference
        case (b"ENCODING" | b"REFCOUNT") as which, _:
            name = f"object|{which.decode().lower()}"
            raise CommandError(f"ERR wrong number of arguments for '{name}' command")
        case (b"FREQ" | b"IDLETIME") as which, _:
            raise NotHere(f"ERR quorate does not have OBJECT {which.decode()} yet")
        case _:
            word = args[1][:64].decode("utf-8", "replace")
            raise CommandError(f"ERR unknown subcommand '{word}'. Try OBJECT HELP.")


def scan(args: Args) -> Asked:
    if not args[1].isdigit() or int(args[1][:21]) > _LARGEST_CURSOR:
        raise CommandError("ERR invalid cursor")
    glob, found, is_string = None, SCAN_COUNT, True
    words = iter(args[2:])
    for word in words:
        content = next(words, None)
        match word.upper():
            case _ if content is None:
                raise CommandError(SYNTAX)
            case b"MATCH":
                glob = content
            case b"COUNT":
                found = number(content)
                if found < 1:
                    raise CommandError(SYNTAX)
            case b"TYPE":
                is_string = content.lower() == b"string"
            case _:
                raise CommandError(SYNTAX)
    return Scan(int(args[1]), found), scanned(glob, is_string)


def dbsize(args: Args) -> Asked:
    return Size(), count


def flush(args: Args) -> Asked:
    if len(args) > 2 or (len(args) == 2 and args[1].upper() not in (b"ASYNC", b"SYNC")):
        raise CommandError(SYNTAX)
    return Clear(), ok


def fence(args: Args) -> Asked:
    return Revision(args[1]), count


_ONE = (1, 1, 1)
_NONE = (0, 0, 0)
_make = Entry.make
ENTRIES = [
    _make("copy", -3, "write denyoom", (1, 2, 1), "generic", "Copy a key.", parse=copy),
    _make("dbsize", 1, "readonly fast", _NONE, "server", "How many keys there are.", parse=dbsize),
    _make("del", -2, "write", (1, -1, 1), "generic", "Delete keys.", parse=delete),
    _make("exists", -2, "readonly fast", (1, -1, 1), "generic", "How many of the keys are there.",
          parse=exists),
    _make("expire", -3, "write fast", _ONE, "generic", "Let a key end in seconds.", parse=expire),
    _make("expireat", -3, "write fast", _ONE, "generic", "Let a key end at a second.",
          parse=expireat),
    _make("expiretime", 2, "readonly fast", _ONE, "generic", "The second of a key's end.",
          parse=expiretime),
    _make("flushall", -1, "write", _NONE, "server", "Delete everything.", parse=flush),
    _make("flushdb", -1, "write", _NONE, "server", "Delete everything.", parse=flush),
    _make("keys", 2, "readonly", _NONE, "generic", "All keys that match.", alone=pages.keys),
    _make("object", -2, "readonly", (2, 2, 1), "generic", "ENCODING and REFCOUNT of a key.",
          parse=object_),
    _make("persist", 2, "write fast", _ONE, "generic", "Take away a key's end.", parse=persist),
    _make("pexpire", -3, "write fast", _ONE, "generic", "Let a key end in milliseconds.",
          parse=pexpire),
    _make("pexpireat", -3, "write fast", _ONE, "generic", "Let a key end at a millisecond.",
          parse=pexpireat),
    _make("pexpiretime", 2, "readonly fast", _ONE, "generic", "The millisecond of a key's end.",
          parse=pexpiretime),
    _make("pttl", 2, "readonly fast", _ONE, "generic", "Milliseconds to a key's end.", parse=pttl),
    _make("quorate.fence", 2, "readonly fast", _ONE, "generic",
          "The revision of a key's last change: a fencing token.", parse=fence),
    _make("randomkey", 1, "readonly", _NONE, "generic", "Some key.", alone=pages.random_key),
    _make("rename", 3, "write", (1, 2, 1), "generic", "Rename a key.", parse=rename),
    _make("renamenx", 3, "write fast", (1, 2, 1), "generic",
          "Rename a key unless the new name is there.", parse=renamenx),
    _make("scan", -2, "readonly", _NONE, "generic", "The next keys.", parse=scan,
          through_log=True),
    _make("touch", -2, "readonly fast", (1, -1, 1), "generic", "How many of the keys are there.",
          parse=exists),
    _make("ttl", 2, "readonly fast", _ONE, "generic", "Seconds to a key's end.", parse=ttl),
    _make("type", 2, "readonly fast", _ONE, "generic", "The type of a key's value.", parse=type_),
    _make("unlink", -2, "write fast", (1, -1, 1), "generic", "Delete keys.", parse=delete),
]  # fmt: skip
"""What is in this file."""
