"""Keys, values and pairs: which are allowed, where they go, and how they stand in files.

A *key* is a ``str``, ``bytes``, ``int``, ``float`` (no NaN) or a tuple of such.  The keys of a job
must compare with each other.  Keys that are equal are one key (``1``, ``1.0`` and ``True``); it
shows as it was first seen, in order of split and record.  A *value* is anything that msgpack
carries, and reaches the reduce function as msgpack brings it: a tuple or set as a list, a date as
a string.

The partition function (MapReduce §4.1) is CRC32C of the encoded key modulo the number of reduce
tasks: the same in every process and run, unlike ``hash``.

A *region* is what one map task has for one reduce task: blocks of up to 4,096 keys, increasing
over the whole region (§4.2), each with all its values.  A block is its length and its CRC32C (two
unsigned 32-bit numbers, big endian), then msgpack ``[[key, …], [[value, …], …]]``.
"""

import math
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from quorate.base.checksum import crc32c
from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.errors import CorruptData, JobFailed

_BLOCK_KEYS = 4096
_HEADER = struct.Struct(">II")
_SHOWN_CHARACTERS = 200
_PLAIN_KEYS = frozenset((str, bytes, int, float, bool))

_ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


def shown(value: object) -> str:
    """``value`` as an error message shows it: at most 200 characters."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def check_key(key: object) -> None:
    """Raise ``JobFailed`` unless ``key`` may be one."""
    kind = type(key)
    if kind is tuple:
        for part in key:  # type: ignore[attr-defined]
            check_key(part)
    elif kind is float:
        if math.isnan(key):  # type: ignore[arg-type]
            raise JobFailed("a key is NaN, which compares with nothing")
    elif kind not in (str, bytes, int, bool):
        raise JobFailed(
            f"the key {shown(key)} is a {kind.__name__}; keys are str, bytes, int, float or "
            "tuples of them"
        )
    _check_encodes("key", key)


def check_pair(key: object, value: object) -> None:
    """Raise ``JobFailed``, saying what is wrong, unless the pair can leave a map task."""
    check_key(key)
    _check_encodes("value", value)


def _check_encodes(what: str, value: object) -> None:
    try:
        encode(value)
    except _ENCODE_ERRORS as error:
        raise JobFailed(f"the {what} {shown(value)} cannot be encoded: {error}") from error


def _canonical(key: Any) -> Any:
    """One form for all keys that are equal to each other, so that they meet in one partition."""
    if isinstance(key, tuple):
        return tuple(map(_canonical, key))
    if isinstance(key, bool):
        return int(key)
    if isinstance(key, float) and key.is_integer() and -(2**63) <= key < 2**64:
        return int(key)
    return key


def partition_of(key: Any, reduces: int) -> int:
    """The reduce task, from 0 to ``reduces - 1``, that gets ``key``."""
    if type(key) is not str:
        check_key(key)
        key = _canonical(key)
    return crc32c(encode(key)) % reduces


def partition(keys: Collection[Any], reduces: int) -> list[list[Any]]:
    """Distinct ``keys`` by reduce task, increasing in each.

    Raises ``JobFailed`` for a key that cannot be one, or keys that do not compare.
    """
    partitions: list[list[Any]] = [[] for _ in range(reduces)]
    try:
        if set(map(type, keys)) == {str}:  # what partition_of does, without a call for each key
            for key, checksum in zip(keys, map(crc32c, map(encode, keys)), strict=True):
                partitions[checksum % reduces].append(key)
        else:
            for key in keys:
                partitions[partition_of(key, reduces)].append(key)
    except _ENCODE_ERRORS:
        for key in keys:
            check_key(key)
        raise
    for keys_of_one in partitions:
        sort_keys(keys_of_one)
    return partitions


def sort_keys(keys: list[Any]) -> None:
    """Sort in place; raises ``JobFailed`` that shows two keys which do not compare."""
    try:
        keys.sort()
    except TypeError as error:
        other = next((key for key in keys if not _compare(key, keys[0])), keys[-1])
        raise JobFailed(
            f"the keys {shown(keys[0])} and {shown(other)} of this job do not compare with each "
            f"other ({error}); yield keys of one type"
        ) from error


def _compare(key: Any, other: Any) -> bool:
    try:
        return (key < other) in (True, False)
    except TypeError:
        return False


def write_region(keys: Sequence[Any], groups: Mapping[Any, list[Any]]) -> Iterator[bytes]:
    """The blocks of the region that holds ``keys`` (increasing) and their values.

    Raises ``JobFailed`` for a value that cannot be encoded.
    """
    for first in range(0, len(keys), _BLOCK_KEYS):
        block = keys[first : first + _BLOCK_KEYS]
        try:
            payload = encode((block, list(map(groups.__getitem__, block))))
        except _ENCODE_ERRORS as error:
            raise JobFailed(f"a value cannot be encoded: {error}") from error
        if len(payload) >= 2**32:
            raise JobFailed(f"the values of {shown(block[0])} and the next keys exceed 4 GiB")
        yield _HEADER.pack(len(payload), crc32c(payload))
        yield payload


def read_region(region: bytes) -> Iterator[tuple[list[Any], list[list[Any]]]]:
    """The keys and values of each block; raises ``CorruptData`` for bytes of anything else."""
    position = 0
    view = memoryview(region)
    while position < len(region):
        if len(region) - position < _HEADER.size:
            raise CorruptData("a region of map output ends inside a block")
        length, checksum = _HEADER.unpack_from(region, position)
        position += _HEADER.size
        payload = view[position : position + length]
        if len(payload) < length or crc32c(payload) != checksum:
            raise CorruptData("the checksum of a region of map output does not fit")
        try:
            keys, values = decode(payload, tuple[list[Any], list[list[Any]]])
        except UNREADABLE as error:
            raise CorruptData(f"a region of map output cannot be read: {error}") from None
        if len(keys) != len(values):
            raise CorruptData(f"a region of map output has {len(keys)} keys, {len(values)} values")
        if not _PLAIN_KEYS.issuperset(map(type, keys)):
            keys = [_key_of(key) for key in keys]
        yield keys, values
        position += length


def _key_of(key: Any) -> Any:
    """Msgpack knows no tuples: an array among the keys was one."""
    if isinstance(key, list):
        return tuple(map(_key_of, key))
    if type(key) not in _PLAIN_KEYS:
        raise CorruptData(f"a region of map output has the key {shown(key)}, which cannot be one")
    return key


def merge_regions(regions: Iterable[bytes]) -> dict[Any, list[Any]]:
    """All values of each key, in order of ``regions``; the keys in no particular order."""
    groups: dict[Any, list[Any]] = {}
    get = groups.get
    for region in regions:
        for keys, values in read_region(region):
            for key, more in zip(keys, values, strict=True):
                known = get(key)
                if known is None:
                    groups[key] = more
                else:
                    known += more
    return groups


def as_values_arrive(values: list[Any]) -> list[Any]:
    """Values as the reduce function of a cluster sees them: through msgpack and back.

    Raises ``JobFailed`` for one that cannot be encoded.
    """
    try:
        arrived: list[Any] = decode(encode(values), list[Any])
    except _ENCODE_ERRORS as error:
        raise JobFailed(f"a value cannot be encoded: {error}") from error
    return arrived


def output_lines(pairs: Sequence[tuple[object, object]]) -> bytes:
    """Output pairs as lines ``key<TAB>value``, UTF-8.

    Raises ``JobFailed`` for a pair that would not be one line with its key before the first tab.
    """
    lines = [f"{key!s}\t{value!s}" for key, value in pairs]
    lines.append("")
    text = "\n".join(lines)
    if text.count("\n") != len(pairs) or text.count("\t") != len(pairs):
        for key, value in pairs:
            if "\n" in f"{key!s}{value!s}" or "\t" in str(key):
                raise JobFailed(
                    f"reduce yielded the pair {shown(key)}, {shown(value)}: a newline in it, or "
                    "a tab in its key, would break the line of output; replace such characters"
                )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise JobFailed(f"reduce yielded text that is not Unicode: {error}") from error
