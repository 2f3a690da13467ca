"""Commands about the server: INFO, CONFIG, COMMAND, TIME, WAIT."""

from typing import TYPE_CHECKING

import quorate
from quorate.gateways.resp import encoder
from quorate.gateways.resp.commands.entry import (
    UNLIMITED,
    CommandError,
    Entry,
    number,
    wrong_arity,
)
from quorate.gateways.resp.commands.session import REDIS_VERSION
from quorate.gateways.resp.encoder import Flags, Shown, Status, shown
from quorate.gateways.resp.parser import MAX_KEPT_BULK_BYTES, Args
from quorate.gateways.resp.patterns import pattern

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

_CATEGORIES = {"write": "@write", "readonly": "@read", "fast": "@fast"}
_GROUPS = {
    "generic": "@keyspace",
    "string": "@string",
    "connection": "@connection",
    "transactions": "@transaction",
    "scripting": "@scripting",
    "server": "@dangerous",
}


# INFO.


def info(connection: "RespConnection", args: Args) -> bytes:
    sections = _sections(connection)
    wanted = [word.decode("utf-8", "replace").lower() for word in args[1:]]
    if not wanted or any(word in ("all", "default", "everything") for word in wanted):
        wanted = list(sections)
    lines: list[str] = []
    for name in sections:
        if name in wanted:
            lines += [f"# {name.capitalize()}"]
            lines += [f"{fact}:{content}" for fact, content in sections[name].items()]
            lines.append("")
    return encoder.verbatim("\r\n".join(lines), connection.protocol)


def _sections(connection: "RespConnection") -> dict[str, dict[str, object]]:
    gateway = connection.gateway
    group, found = gateway.service.group, gateway.service.store.statistics()
    uptime_s = gateway.uptime_s()
    return {
        "server": {
            "redis_version": REDIS_VERSION,
            "redis_mode": "standalone",
            "quorate_version": quorate.__version__,
            "tcp_port": gateway.port,
            "uptime_in_seconds": uptime_s,
            "uptime_in_days": uptime_s // 86_400,
        },
        "clients": {
            "connected_clients": len(gateway.connections),
            "maxclients": gateway.settings.max_clients,
            "blocked_clients": 0,
        },
        "memory": {
            "used_memory": found.bytes,
            "maxmemory": found.max_bytes,
            "maxmemory_policy": "noeviction",
            "client_query_bytes": gateway.held_bytes,
            "client_unsent_bytes": gateway.unsent_bytes,
        },
        "persistence": {"loading": 0, "aof_enabled": 1, "rdb_bgsave_in_progress": 0},
        "stats": {
            "total_connections_received": gateway.accepted,
            "total_commands_processed": gateway.commands,
            "rejected_connections": gateway.refused,
        },
        # Every node takes writes, so to a client each is a master.
        "replication": {"role": "master", "connected_slaves": 0},
        "quorate": {
            "raft_role": "leader" if group.is_leader else "follower",
            "raft_leader": group.leader_address or "",
            "raft_term": group.term,
            "store_revision": found.revision,
            "store_restricted": found.restricted,
        },
        "cluster": {"cluster_enabled": 0},
        "keyspace": {"db0": f"keys={found.keys},expires={found.with_end},avg_ttl=0"}
        if found.keys
        else {},
    }


# CONFIG.


def config(connection: "RespConnection", args: Args) -> bytes:
    match args[1].upper(), len(args):
        case b"GET", there if there >= 3:
            matching = [pattern(glob.lower()) for glob in args[2:]]
            settings = {
                name: content
                for name, content in _settings(connection).items()
                if any(matches(name.encode()) for matches in matching)
            }
            return shown(settings, connection.protocol)
        case b"RESETSTAT", 2:
            gateway = connection.gateway
            gateway.accepted = gateway.refused = gateway.commands = 0
            return encoder.OK
        case ((b"GET" | b"RESETSTAT") as which, _):
            return wrong_arity(f"config|{which.decode().lower()}")
        case ((b"SET" | b"REWRITE"), _):
            return encoder.error(
                f"ERR quorate does not have CONFIG {args[1].decode().upper()}: change the node's "
                "configuration file"
            )
        case _:
            word = args[1][:64].decode("utf-8", "replace")
            return encoder.error(f"ERR unknown subcommand '{word}'. Try CONFIG HELP.")


def _settings(connection: "RespConnection") -> dict[str, Shown]:
    """What clients ask for; in Redis' words: everything is written to a log, and synced."""
    return {
        "appendfsync": "always",
        "appendonly": "yes",
        "cluster-enabled": "no",
        "databases": "1",
        "maxclients": str(connection.gateway.settings.max_clients),
        "maxmemory": str(connection.gateway.service.store.state.max_bytes),
        "maxmemory-policy": "noeviction",
        "notify-keyspace-events": "",
        "port": str(connection.gateway.port),
        "proto-max-bulk-len": str(MAX_KEPT_BULK_BYTES),
        "save": "",
        "timeout": "0",
    }


# COMMAND.


def command(connection: "RespConnection", args: Args) -> bytes:
    from quorate.gateways.resp.commands.table import ENTRIES, find

    protocol = connection.protocol
    match [word.upper() for word in args[1:2]]:
        case []:
            return encoder.array([_facts(entry, protocol) for entry in ENTRIES.values()])
        case [b"COUNT"] if len(args) == 2:
            return encoder.integer(len(ENTRIES))
        case [b"LIST"] if len(args) == 2:
            return shown(list(ENTRIES), protocol)
        case [b"INFO"]:
            chosen = list(map(find, args[2:])) if len(args) > 2 else list(ENTRIES.values())
            return encoder.array(
                [
                    encoder.nil(protocol) if entry is None else _facts(entry, protocol)
                    for entry in chosen
                ]
            )
        case [b"DOCS"]:
            chosen = list(map(find, args[2:])) if len(args) > 2 else list(ENTRIES.values())
            docs: dict[str, Shown] = {
                entry.name: {"summary": entry.summary, "since": "1.0.0", "group": entry.group}
                for entry in chosen
                if entry is not None
            }
            return shown(docs, protocol)
        case [b"GETKEYS"] if len(args) > 2:
            return _get_keys(find(args[2]), args[2:], protocol)
        case [(b"COUNT" | b"LIST" | b"GETKEYS") as which]:
            return wrong_arity(f"command|{which.decode().lower()}")
        case _:
            word = args[1][:64].decode("utf-8", "replace")
            return encoder.error(f"ERR unknown subcommand '{word}'. Try COMMAND HELP.")


def _facts(entry: Entry, protocol: int) -> bytes:
    categories = [_GROUPS[entry.group]]
    categories += [_CATEGORIES[flag] for flag in entry.flags if flag in _CATEGORIES]
    first, last, step = entry.keys
    facts: list[Shown] = [
        entry.name,
        entry.arity,
        Flags(map(Status, entry.flags)),
        first,
        last,
        step,
        Flags(map(Status, categories)),
        [],
        [],
        [],
    ]
    return shown(facts, protocol)


def _get_keys(entry: Entry | None, args: Args, protocol: int) -> bytes:
    if entry is None:
        raise CommandError("ERR Invalid command specified")
    if not entry.takes(args):
        raise CommandError("ERR Invalid number of arguments specified for command")
    first, last, step = entry.keys
    if entry.group == "scripting" and len(args) > 2 and 0 < number(args[2]) <= len(args) - 3:
        return shown(list(args[3 : 3 + number(args[2])]), protocol)
    if not first:
        raise CommandError("ERR The command has no key arguments")
    stop = last + 1 if last > 0 else len(args) + last + 1
    return shown(list(args[first : min(stop, UNLIMITED) : step]), protocol)


# TIME and WAIT.


def time(connection: "RespConnection", args: Args) -> bytes:
    seconds, rest_ms = divmod(connection.gateway.world.clock.wall_ms(), 1000)
    return shown([str(seconds), str(rest_ms * 1000)], connection.protocol)


def wait(connection: "RespConnection", args: Args) -> bytes:
    """What was answered before is on the disks of a majority: so many others than one."""
    number(args[1])
    try:
        is_negative = number(args[2]) < 0
    except CommandError:
        raise CommandError("ERR timeout is not an integer or out of range") from None
    if is_negative:
        raise CommandError("ERR timeout is negative")
    voters = len(connection.gateway.service.group.configuration.voters)
    return encoder.integer(voters // 2)


_NONE = (0, 0, 0)
_make = Entry.make
ENTRIES = [
    _make("command", -1, "loading stale", _NONE, "server",
          "COUNT, LIST, INFO, DOCS, GETKEYS of the commands.", answer=command),
    _make("config", -2, "admin noscript loading stale", _NONE, "server",
          "GET and RESETSTAT.", answer=config),
    _make("info", -1, "loading stale", _NONE, "server", "Facts and figures.", answer=info),
    _make("time", 1, "loading stale fast", _NONE, "server", "This node's clock.", answer=time),
    _make("wait", 3, "noscript", _NONE, "generic",
          "How many other nodes have what was answered.", answer=wait),
]  # fmt: skip
"""What is in this file."""
