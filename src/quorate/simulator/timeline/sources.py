"""Why an event happened: the lines of our code, and the section of the paper, behind each kind.

The table names functions, never line numbers: these are found when a page is made.  A place may
also quote what stands in the one line that matters.  ``tests/unit/simulator/timeline`` holds that
each place exists, and that each event type and message has one.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import quorate
from quorate.base.check import Bug, check
from quorate.simulator.timeline.events import Source

PAPER = "https://raft.github.io/raft.pdf"
THESIS = "https://github.com/ongardie/dissertation#readme"


Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Place(NamedTuple):
    """``function`` of ``module``; ``line`` is a part of the line that matters, if one does."""

    module: str
    function: str
    section: str
    line: str = ""


ELECTION = "quorate.raft.core.election"
REPLICATION = "quorate.raft.core.replication"
REPLICA = "quorate.raft.core.replica"
COMPACTION = "quorate.raft.core.compaction"
READS = "quorate.raft.core.reads"
TRANSFER = "quorate.raft.core.transfer"
MEMBERSHIP = "quorate.raft.core.membership"
NEMESIS = "quorate.simulator.nemeses.nemesis"

PRE_VOTE = "thesis §9.6 Preventing disruptions when a server rejoins the cluster"
ELECTIONS = "§5.2 Leader election"
RESTRICTION = "§5.2 Leader election, §5.4.1 Election restriction"
LOGS = "§5.3 Log replication"
COMMITTING = "§5.3, §5.4.2 Committing entries from previous terms"
SNAPSHOTS = "§7 Log compaction, figure 13"
READING = "§8 Client interaction, thesis §6.4"
MEMBERS = "§6 Cluster membership changes, figure 11"
JOINT = "§6 Cluster membership changes, figures 10 and 11"
TRANSFERS = "thesis §3.10 Leadership transfer extension"
STORED = "figure 2, persistent state on all servers"
FAULTS = "§2: what consensus must withstand"
CRASHES = "§5.5 Follower and candidate crashes"

_RECEIVED = {
    "PreVoteRequest": Place(ELECTION, "vote_request", PRE_VOTE, "if request.pre_vote"),
    "PreVoteReply": Place(ELECTION, "vote_reply", PRE_VOTE, "Role.PRE_CANDIDATE"),
    "VoteRequest": Place(ELECTION, "vote_request", RESTRICTION, "granted = request.term =="),
    "VoteReply": Place(ELECTION, "vote_reply", ELECTIONS, "= reply.granted"),
    "AppendRequest": Place(REPLICATION, "append_request", LOGS, "# 3. and 4."),
    "AppendReply": Place(REPLICATION, "append_reply", LOGS, "progress.accepted"),
    "InstallSnapshot": Place(COMPACTION, "install_snapshot", SNAPSHOTS),
    "InstallReply": Place(REPLICATION, "install_reply", SNAPSHOTS),
    "ReadRequest": Place(READS, "read_request", READING),
    "ReadReply": Place(READS, "read_reply", READING),
    "TimeoutNow": Place(TRANSFER, "timeout_now", TRANSFERS),
}
_SENT = {
    "PreVoteRequest": Place(ELECTION, "ask_for_votes", PRE_VOTE, "request = VoteRequest("),
    "PreVoteReply": Place(ELECTION, "vote_request", PRE_VOTE, "pre_vote=True"),
    "VoteRequest": Place(ELECTION, "ask_for_votes", ELECTIONS, "request = VoteRequest("),
    "VoteReply": Place(ELECTION, "vote_request", RESTRICTION, "VoteReply(replica.term, granted)"),
    "AppendRequest": Place(REPLICATION, "_request", LOGS, "return AppendRequest("),
    "AppendReply": Place(REPLICATION, "append_request", LOGS, "match_index=match_index"),
    "InstallSnapshot": Place(REPLICATION, "_offer", SNAPSHOTS, "return InstallSnapshot("),
    "InstallReply": Place(COMPACTION, "install_snapshot", SNAPSHOTS, "message.round), out"),
    "ReadRequest": Place(READS, "read", READING, "ReadRequest(number)"),
    "ReadReply": Place(READS, "_answer", READING, "ReadReply(number, index)"),
    "TimeoutNow": Place(TRANSFER, "hand_over", TRANSFERS, "TimeoutNow("),
}
_STEPS = {
    "Tick": Place("quorate.raft.core.step", "_tick", ELECTIONS),
    "Propose": Place(REPLICATION, "propose", LOGS),
    "Persisted": Place(REPLICA, "Replica.persisted", STORED),
    "Read": Place(READS, "read", READING),
    "Change": Place(MEMBERSHIP, "change", MEMBERS),
    "Transfer": Place(TRANSFER, "transfer", TRANSFERS),
    "PeerLost": Place(ELECTION, "peer_lost", ELECTIONS),
    "SnapshotTaken": Place(COMPACTION, "snapshot_taken", SNAPSHOTS),
    "SnapshotInstalled": Place(COMPACTION, "snapshot_installed", SNAPSHOTS),
    "Compact": Place(COMPACTION, "compact", SNAPSHOTS),
}
_CHANGES = {
    "PRE_CANDIDATE": Place(ELECTION, "election_timeout", PRE_VOTE, "Role.PRE_CANDIDATE"),
    "CANDIDATE": Place(ELECTION, "campaign", ELECTIONS, "replica.role = Role.CANDIDATE"),
    "LEADER": Place(ELECTION, "_become_leader", f"{ELECTIONS}; §8, the no-op", "= Role.LEADER"),
    "FOLLOWER": Place(REPLICA, "Replica.become_follower", "§5.1 Raft basics", "= Role.FOLLOWER"),
    "term": Place(REPLICA, "Replica.set_term_and_vote", f"§5.1 Raft basics; {STORED}"),
    "vote": Place(ELECTION, "vote_request", RESTRICTION, "set_term_and_vote(replica.term, sender"),
    "own vote": Place(ELECTION, "campaign", ELECTIONS, "replica.term + 1, replica.replica"),
    "leader's commit": Place(REPLICATION, "advance_commit", COMMITTING, "== replica.term"),
    "commit": Place(REPLICATION, "append_request", LOGS, "replica.commit_index = max("),
    "C_old,new": Place(REPLICA, "Replica._configure", JOINT, "+= configurations_in(entries)"),
    "C_new": Place(REPLICA, "Replica._configure", JOINT, "self._obey(out)"),
    "joint commit": Place(MEMBERSHIP, "settle", JOINT, "configuration.after()"),
    "both majorities": Place(
        "quorate.raft.core.configuration", "Configuration.reached", JOINT, "min(reached"
    ),
    "truncated": Place(REPLICATION, "append_request", LOGS, "conflict truncated"),
    "refused": Place(REPLICATION, "_back_up", f"{LOGS}, its end", "last_of_term ="),
    "applied": Place("quorate.raft.group", "Group._apply_entry", "figure 2, rules for all servers"),
    "restored": Place("quorate.raft.snapshotter", "load", SNAPSHOTS),
    "answered": Place(READS, "_answer", READING),
    "started": Place("quorate.raft.node", "RaftNode.start", STORED),
    "died": Place("quorate.runtime.simulated.process", "SimulatedProcess.kill", CRASHES),
}
_STORIES = {
    "cut": Place("quorate.simulator.scenarios.interpreter", "Scenario._post", FAULTS),
    "crash": Place("quorate.simulator.scenarios.hosts", "Host.crash", CRASHES),
    "slow": Place("quorate.simulator.scenarios.hosts", "Host.sync", STORED),
}
_CLIENTS = {
    "execute": Place("quorate.raft.client", "GroupClient.execute", "§8 Client interaction"),
    "query": Place("quorate.raft.client", "GroupClient.query", READING),
}
_LABS = {
    "lab cut": Place("quorate.simulator.lab.tester", "Lab._plug", FAULTS, "faults.partition("),
    "lab unreliable": Place("quorate.simulator.lab.tester", "Lab.unreliable", FAULTS, "= UNREL"),
    "lab late": Place("quorate.simulator.lab.servers", "Servers.post", FAULTS, "late_ms = 200"),
}
_FAULTS = {
    "Partition": "_partition",
    "Noise": "_noise",
    "Reset": "_apply",
    "Kill": "_fell",
    "PowerLoss": "_lose_power",
    "Pause": "_pause",
    "Drift": "_turn_clock",
    "Jump": "_turn_clock",
    "SlowDisk": "_hurt_disk",
    "FailedSync": "_hurt_disk",
    "FullDisk": "_hurt_disk",
    "FlippedBit": "_flip_bit",
    "Storm": "_storm",
    "Ambush": "_ambush",
    "Transfer": "_transfer",
    "Change": "_change",
    "TornChange": "_tear",
    "LostDisk": "_lose_disk",
}

_NODE, _PORTS = "Nemesis._make_node", "quorate.torture.ports"
_TORTURE = "quorate.torture.nemesis"
_TORTURED = {
    "kill": Place(_TORTURE, _NODE, CRASHES, "await node.kill()"),
    "stop": Place(_TORTURE, _NODE, FAULTS, "node.freeze()"),
    **dict.fromkeys(
        ("cut-one", "cut-halves", "cut-one-way", "cut-ring"),
        Place(_TORTURE, "Nemesis._make", FAULTS, "self._hosts.cut("),
    ),
    "loss": Place(_PORTS, "_Link.send", FAULTS, "if not _lost(told)"),
    "delay": Place(_PORTS, "_Link.send", FAULTS, "call_later("),
    "full-disk": Place(_TORTURE, _NODE, STORED, "self._disks.fill("),
    "slow-disk": Place(_PORTS, "SlowDisk.in_thread", STORED, "time.sleep"),
    "clock-jump": Place(_PORTS, "WrongClock.wall_ms", FAULTS),
    "started": Place("quorate.torture.nodes", "TortureNode.start", STORED),
    "died": Place("quorate.torture.nodes", "TortureNode.kill", CRASHES),
    "clients": Place("quorate.torture.clients", "Player._do", "§8 Client interaction"),
}

PLACES: dict[str, Place] = {
    **{f"received {name}": place for name, place in _RECEIVED.items()},
    **{f"sent {name}": place for name, place in _SENT.items()},
    **_STEPS,
    **_CHANGES,
    **_STORIES,
    **_CLIENTS,
    **_LABS,
    **{
        f"fault {name}": Place(NEMESIS, f"Nemesis.{function}", FAULTS)
        for name, function in _FAULTS.items()
    },
    **{f"torture {name}": place for name, place in _TORTURED.items()},
}
"""By what ``Event.source`` says."""


@cache
def find(name: str) -> Source:
    """The place of ``PLACES`` that ``name`` names, as the code stands in its file: a bug that was
    planted in the running product is not there."""
    place = PLACES[name]
    root = Path(quorate.__file__).parent.parent
    path = root / f"{place.module.replace('.', '/')}.py"
    text = path.read_text()
    node: ast.AST = ast.parse(text)
    for part in place.function.split("."):
        node = _named(node, part, place)
    first, last = _lines_of(node)
    lines = text.splitlines()[first - 1 : last]
    matching = [number for number, line in enumerate(lines) if place.line and place.line in line]
    check(
        len(matching) == bool(place.line),
        f"{place.function} has {len(matching)} lines with {place.line!r}, where one is the source"
        f" of {name!r}",
    )
    return Source(
        path.relative_to(root).as_posix(),
        first + (matching[0] if matching else 0),
        f"{place.module.removeprefix('quorate.')}.{place.function}",
        place.section,
        first,
        dedent("\n".join(lines)),
    )


def _named(parent: ast.AST, name: str, place: Place) -> ast.AST:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Named) and node.name == name:
            return node
    raise Bug(f"{place.module} has no {place.function}, which the timeline names as a source")


def _lines_of(node: ast.AST) -> tuple[int, int]:
    if not isinstance(node, Named):
        raise Bug("a source is a function or a class")
    return node.lineno, node.end_lineno or node.lineno


def sources_of(names: Iterable[str]) -> dict[str, Source]:
    """What a page about events with these sources must hold."""
    return {name: find(name) for name in sorted(set(names) - {""})}
