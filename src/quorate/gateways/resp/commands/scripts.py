"""Scripts: the three of redis-py's ``Lock``, known by their SHA-1, and no others.

Each is one operation of the store, so it is as atomic as the script.  No Lua runs here.
"""

import hashlib
from typing import TYPE_CHECKING

from quorate.gateways.resp import encoder
from quorate.gateways.resp.commands.entry import (
    NOT_AN_INTEGER,
    Asked,
    CommandError,
    Entry,
    NotHere,
    count,
    number,
    wrong_arity,
)
from quorate.gateways.resp.parser import Args
from quorate.kv.core.commands import DeleteEqual, ExpireEqual

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

RELEASE = "c3f8721cbb97f72bc19e972846bd7aaf91901658"
EXTEND = "a4e8783852e6b949f9ef3a97212805108459a890"
REACQUIRE = "1cac51482acf5858da00f6d685d68f886cd6b6b2"
_ARGUMENTS = {RELEASE: 1, EXTEND: 3, REACQUIRE: 2}
"""Beside the one key."""
REFUSED = (
    "ERR quorate runs no Lua scripts (EVAL): of all scripts it knows the three of redis-py's Lock"
)


def sha_of(script: bytes) -> str:
    return hashlib.sha1(script, usedforsecurity=False).hexdigest()


def eval_(args: Args) -> Asked:
    sha = sha_of(args[1])
    if sha not in _ARGUMENTS:
        raise NotHere(REFUSED)
    return _run(sha, args)


def evalsha(args: Args) -> Asked:
    return _run(args[1].decode("latin-1").lower(), args)


def _run(sha: str, args: Args) -> Asked:
    keys = number(args[2])
    if keys < 0:
        raise CommandError("ERR Number of keys can't be negative")
    if keys > len(args) - 3:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    if sha not in _ARGUMENTS:
        raise CommandError("NOSCRIPT No matching script. Please use EVAL.")
    if keys != 1 or len(args) != 4 + _ARGUMENTS[sha]:
        raise CommandError("ERR this script of redis-py's Lock takes other keys and arguments")
    key, token = args[3], args[4]
    if sha == RELEASE:
        return DeleteEqual(key, token), count
    ttl_ms = _milliseconds(args[5])
    return ExpireEqual(key, token, ttl_ms, sha == EXTEND and args[6] == b"0"), count


def _milliseconds(text: bytes) -> int:
    """redis-py sends a whole number, sometimes written as a fraction."""
    whole, _, rest = text.partition(b".")
    if rest.strip(b"0"):
        raise CommandError(NOT_AN_INTEGER)
    return number(whole)


def script(connection: "RespConnection", args: Args) -> bytes:
    """``SCRIPT LOAD``, ``EXISTS`` and ``FLUSH``."""
    match args[1].upper(), len(args):
        case b"LOAD", 3:
            sha = sha_of(args[2])
            return encoder.bulk(sha.encode()) if sha in _ARGUMENTS else encoder.error(REFUSED)
        case b"EXISTS", there if there >= 3:
            known = [sha.decode("latin-1").lower() in _ARGUMENTS for sha in args[2:]]
            return encoder.array([encoder.integer(is_known) for is_known in known])
        case b"FLUSH", there:
            if there > 3 or (there == 3 and args[2].upper() not in (b"ASYNC", b"SYNC")):
                return encoder.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
            return encoder.OK
        case (b"LOAD" | b"EXISTS") as which, _:
            return wrong_arity(f"script|{which.decode().lower()}")
        case _:
            word = args[1][:64].decode("utf-8", "replace")
            return encoder.error(f"ERR unknown subcommand '{word}'. Try SCRIPT HELP.")


_make = Entry.make
ENTRIES = [
    _make("eval", -3, "write noscript movablekeys", (0, 0, 0), "scripting",
          "A script of redis-py's Lock.", parse=eval_),
    _make("evalsha", -3, "write noscript movablekeys", (0, 0, 0), "scripting",
          "A script of redis-py's Lock, by its SHA-1.", parse=evalsha),
    _make("script", -2, "noscript", (0, 0, 0), "scripting",
          "LOAD, EXISTS and FLUSH: of the scripts of redis-py's Lock.", answer=script),
]  # fmt: skip
"""What is in this file."""
