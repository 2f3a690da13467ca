"""``quorate kv``: the key/value store from a shell.

Keys and values are bytes.  What an argument says stands for its UTF-8; a value may also be
``@FILE``, or ``-`` for standard input.  ``get`` writes the bytes as they are.  Where a line is
printed, bytes that cannot be shown are escaped; in JSON they are ``{"base64": …}``.
"""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer
from rich.filesize import decimal

from quorate.base.codec import UNREADABLE
from quorate.base.errors import BadInput, Fenced, NotFound
from quorate.cli.connection import Cluster, with_cluster
from quorate.cli.output import JsonOption, Progress, print_json, print_line, print_table
from quorate.kv.backup import Backup, back_up, verify
from quorate.kv.backup import restore as restore_store
from quorate.kv.core.commands import Entry, Event
from quorate.kv.transaction import Transaction
from quorate.library.files import reader, writer

app = typer.Typer(no_args_is_help=True, help="Keys and values.")

Key = Annotated[str, typer.Argument(metavar="KEY")]
Value = Annotated[str, typer.Argument(metavar="VALUE", help="Text, @FILE, or - for stdin.")]
Ttl = Annotated[float | None, typer.Option(metavar="SECONDS", help="How long it is to live.")]
Start = Annotated[str | None, typer.Option(metavar="KEY", help="From this key on.")]
End = Annotated[str | None, typer.Option(metavar="KEY", help="To before this key.")]
Place = Annotated[str, typer.Argument(metavar="FILE", help="A file, or an fsspec address.")]


@app.command()
@with_cluster
async def get(cluster: Cluster, key: Key, as_json: JsonOption = False) -> None:
    """Write a value to standard output, byte for byte; code 4 if there is none."""
    entry = await cluster.kv.get(key)
    if entry is None:
        raise NotFound(f"the key {key} is absent")
    if as_json:
        print_json(_json_of(entry))
    else:
        sys.stdout.buffer.write(entry.value)
        sys.stdout.buffer.flush()


@app.command()
@with_cluster
async def put(
    cluster: Cluster, key: Key, value: Value, ttl: Ttl = None, as_json: JsonOption = False
) -> None:
    """Set a key, and print its revision."""
    _print_number("revision", await cluster.kv.put(key, _bytes_of(value), ttl_s=ttl), as_json)


@app.command("del")
@with_cluster
async def delete(
    cluster: Cluster,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...")],
    as_json: JsonOption = False,
) -> None:
    """Delete keys, and print how many were there."""
    _print_number("deleted", await cluster.kv.delete(*keys), as_json)


@app.command(context_settings={"ignore_unknown_options": True})
@with_cluster
async def incr(
    cluster: Cluster,
    key: Key,
    by: Annotated[int, typer.Argument(metavar="[BY]", help="May be negative.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Add to an integer, and print the sum."""
    _print_number("value", await cluster.kv.increment(key, by), as_json)


@app.command()
@with_cluster
async def cas(
    cluster: Cluster,
    key: Key,
    value: Value,
    expected: Annotated[
        str | None, typer.Option("--if", metavar="VALUE", help="What it must be; @FILE, too.")
    ] = None,
    revision: Annotated[
        int | None, typer.Option("--if-revision", metavar="N", help="0: it must be absent.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set a key if it has a value or revision, and print the new one; else code 8."""
    if (expected is None) == (revision is None):
        raise BadInput("name one condition: --if VALUE, or --if-revision N (0: absent)")
    if revision is not None:
        done = await cluster.kv.put_if_revision(key, revision, _bytes_of(value))
    else:
        done = await cluster.kv.compare_and_set(key, _bytes_of(expected or ""), _bytes_of(value))
    if not done:
        raise Fenced(f"the key {key} is not as was expected; nothing was changed")
    _print_number("revision", done, as_json)


@app.command()
@with_cluster
async def scan(
    cluster: Cluster,
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]")] = "",
    start: Start = None,
    end: End = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Print so many at most.")] = None,
    keys_only: Annotated[bool, typer.Option("--keys", help="Print no values.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print keys in order, a line each: the key, a tab, the value."""
    left = limit
    page_limit = min(limit or 1000, 1000)
    options: dict[str, Any] = {"start": start, "end": end, "values": not keys_only}
    async for entry in cluster.kv.scan(prefix, limit=page_limit, **options):
        if as_json:
            print_json(_json_of(entry, with_value=not keys_only))
        else:
            value = "" if keys_only else f"\t{_shown(entry.value)}"
            print_line(f"{_shown(entry.key)}{value}")
        if left is not None and (left := left - 1) == 0:
            return


@app.command()
@with_cluster
async def watch(
    cluster: Cluster,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]")] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="All that begin so.")] = "",
    start: Start = None,
    end: End = None,
    since: Annotated[
        int | None, typer.Option(metavar="REVISION", help="From there, and not from now on.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print each change of a key or range until Ctrl-C: revision, what happened, key, value."""
    if key is not None and (prefix or start or end):
        raise BadInput("name a KEY, or a range with --prefix, --start and --end")
    changes = await cluster.kv.watch(key, prefix=prefix, start=start, end=end, since=since)
    async for event in changes:
        if as_json:
            print_json(_json_of_event(event))
        else:
            kind = event.kind.name.lower()
            line = f"{event.revision}\t{kind}\t{_shown(event.key)}\t{_shown(event.value)}"
            print_line(line.rstrip("\t"))


@app.command()
@with_cluster
async def txn(
    cluster: Cluster,
    text: Annotated[str, typer.Argument(metavar="JSON", help="Or @FILE, or - for stdin.")],
    as_json: JsonOption = False,
) -> None:
    """Do several operations in one step, if conditions hold.

    {"if": [["value", KEY, VALUE], ["revision", KEY, N], ["absent", KEY]], "then": [OPERATION...],
    "else": [OPERATION...]}, where OPERATION is ["put", KEY, VALUE], ["put", KEY, VALUE, SECONDS],
    ["delete", KEY...], ["append", KEY, VALUE], ["increment", KEY, BY] or ["get", KEY]; bytes are
    text or {"base64": TEXT}.
    """
    done = await cluster.kv.commit(transaction_of(_bytes_of(text)))
    replies = [_json_of(reply) if isinstance(reply, Entry) else reply for reply in done.replies]
    if as_json:
        print_json({"held": done.held, "revision": done.revision, "replies": replies})
        return
    print_line("the conditions held" if done.held else "a condition did not hold")
    for reply in done.replies:
        shown = _shown(reply.value) if isinstance(reply, Entry) else reply
        print_line("absent" if shown is None else str(shown))


@app.command()
@with_cluster
async def lock(
    cluster: Cluster,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...")],
    ttl: Annotated[
        float, typer.Option(metavar="SECONDS", help="It stays taken so long after we died.")
    ] = 10.0,
    wait: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait no longer; default: for ever.")
    ] = None,
) -> None:
    """Run a command while holding a lock; ends with its code.

    QUORATE_FENCE is the lock's fencing token.  If the lock is lost the command gets SIGTERM, and
    the code is 8.
    """
    async with cluster.kv.lock(name, ttl_s=ttl, wait_s=wait) as token:
        variables = os.environ | {"QUORATE_FENCE": str(token.number)}
        try:
            child = await asyncio.create_subprocess_exec(*command, env=variables)
        except OSError as error:
            raise BadInput(f"{command[0]} cannot be run: {error.strerror}") from error
        try:
            code = await child.wait()
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.send_signal(signal.SIGTERM)
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)


@app.command()
@with_cluster
async def ttl(
    cluster: Cluster,
    key: Key,
    seconds: Annotated[float | None, typer.Option("--set", help="Give it so long.")] = None,
    persist: Annotated[bool, typer.Option("--persist", help="Let it live for ever.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the seconds that a key has left ("none": it has no end), or change them."""
    if seconds is not None and persist:
        raise BadInput("--set and --persist exclude each other")
    if seconds is not None:
        await cluster.kv.expire(key, seconds)
    elif persist:
        await cluster.kv.persist(key)
    left = await cluster.kv.ttl(key)
    if left is None:
        raise NotFound(f"the key {key} is absent")
    endless = left == float("inf")
    if as_json:
        print_json({"key": _json_bytes(key.encode()), "ttl_s": None if endless else left})
    else:
        print_line("none" if endless else f"{left:.3f}")


@app.command()
@with_cluster
async def backup(cluster: Cluster, target: Place, as_json: JsonOption = False) -> None:
    """Write all keys, as they are at one index of the log, to a new file."""
    count = (await cluster.kv.statistics()).keys
    async with writer(target) as write:
        with Progress("backup", count) as progress:
            done = await back_up(cluster.kv, write, progress.advance)
    _print_backup(f"{target} holds", done, as_json)


@app.command()
@with_cluster
async def restore(
    cluster: Cluster,
    source: Place,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what the store holds, first.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the store what a backup holds; repeated after an interruption, it goes on."""
    file = reader(source)
    found = await verify(file)
    with Progress("restore", found.footer.entries) as progress:
        done = await restore_store(
            cluster.kv, file, verified=found, replace=replace, progress=progress.advance
        )
    _print_backup("the store holds", done, as_json)


@app.command()
@with_cluster
async def stats(cluster: Cluster, as_json: JsonOption = False) -> None:
    """Print how large the store is."""
    figures = msgspec.structs.asdict(await cluster.kv.statistics())
    if as_json:
        print_json(figures)
    else:
        print_table((), [(name, str(value)) for name, value in figures.items()])


# Bytes, in and out.


def _bytes_of(text: str) -> bytes:
    """What an argument stands for."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise BadInput(f"{text[1:]} cannot be read: {error.strerror}") from error


def _shown(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    return "".join(c if c.isprintable() and c != "\\" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _json_bytes(data: bytes) -> object:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _json_of(entry: Entry, *, with_value: bool = True) -> dict[str, object]:
    value = {"value": _json_bytes(entry.value)} if with_value else {}
    facts = {"revision": entry.revision, "ends_ms": entry.at_ms or None}
    return {"key": _json_bytes(entry.key), **value, **facts}


def _json_of_event(event: Event) -> dict[str, object]:
    return {
        "revision": event.revision,
        "kind": event.kind.name.lower(),
        "key": _json_bytes(event.key),
        "value": _json_bytes(event.value),
    }


def _print_number(name: str, number: int, as_json: bool) -> None:
    if as_json:
        print_json({name: number})
    else:
        print_line(str(number))


def _print_backup(sentence: str, found: Backup, as_json: bool) -> None:
    header, footer = found.header, found.footer
    if as_json:
        facts = {"keys": footer.entries, "bytes": footer.bytes}
        print_json(facts | {"index": header.index, "revision": header.revision})
    else:
        size = decimal(footer.bytes)
        print_line(f"{sentence} {footer.entries} keys ({size}), of revision {header.revision}.")


# A transaction, as it is written.


class _Base64(msgspec.Struct, forbid_unknown_fields=True):
    base64: bytes


_Part: TypeAlias = list[str | int | float | _Base64]


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    if_: list[_Part] = msgspec.field(name="if", default_factory=list)
    then: list[_Part] = msgspec.field(default_factory=list)
    else_: list[_Part] = msgspec.field(name="else", default_factory=list)


def transaction_of(text: bytes) -> Transaction:
    """The transaction that ``text`` describes; raises ``BadInput``."""
    try:
        written = msgspec.json.decode(text, type=_Written)
    except UNREADABLE as error:
        raise BadInput(f"the transaction cannot be read: {error}") from None
    transaction = Transaction()
    for part in written.if_:
        _add(transaction, part, ("value", "revision", "absent"), "if_")
    operations = ("put", "delete", "append", "increment", "get")
    for part in written.then:
        _add(transaction, part, operations)
    transaction.otherwise()
    for part in written.else_:
        _add(transaction, part, operations)
    return transaction


def _add(transaction: Transaction, part: _Part, names: Sequence[str], prefix: str = "") -> None:
    match [_plain(item) for item in part]:
        case ["value" | "append" as name, str() | bytes() as key, str() | bytes() as value]:
            arguments: tuple[Any, ...] = (key, value)
        case ["absent" | "get" as name, str() | bytes() as key]:
            arguments = (key,)
        case ["revision" | "increment" as name, str() | bytes() as key, int() as number]:
            arguments = (key, number)
        case ["put" as name, str() | bytes() as key, str() | bytes() as value]:
            arguments = (key, value)
        case ["put", str() | bytes() as key, str() | bytes() as value, int() | float() as seconds]:
            transaction.put(key, value, ttl_s=seconds)
            return
        case ["delete" as name, *keys] if all(isinstance(key, str | bytes) for key in keys):
            arguments = tuple(keys)
        case _:
            name, arguments = "", ()
    if name not in names:
        raise BadInput(
            f"{msgspec.json.encode(part).decode()[:200]} is none of {', '.join(names)} with its"
            " key and value; see 'quorate kv txn --help'"
        )
    getattr(transaction, f"{prefix}{name}")(*arguments)


def _plain(item: Any) -> Any:
    return item.base64 if isinstance(item, _Base64) else item
