"""Going on after the majority of a group is lost for ever: what a person decides, and nobody else.

Raft cannot do this: what a majority had acknowledged may have been on the lost disks alone.  So it
is done offline, on the machines that are left, by hand, and in two steps.

1. *The plan* compares what the survivors' disks say.  For each group the newest log (§5.4.1) is
   taken, whole, as what was decided.  What may be lost is said: if those that are lost could have
   decided without the survivors, all that was acknowledged and is not in that log.
2. *The writer* of a group, the survivor with its newest log, appends one entry: a configuration
   whose voters are the survivors, with all other members in ``lost``, in a term far above any that
   a lost member can have reached.  When the survivors run, it is committed like any entry.

Why that is safe for those that are left: the entry makes the writer's log the newest of theirs, so
only the writer can be elected first, and the others get its log as from any leader.  The lost are
not obeyed, nor answered, if they ever run again (``Configuration.lost``); but who asks *them* would
be answered from another history, so they must never be started.

Whether the lost could have decided alone depends on the configuration that they had, and that need
not be the last one in the survivors' newest log.  Any majority with a survivor in it has left what
it decided in that log (leader completeness, §5.4.3), so only majorities of the lost alone count:
* An older one: a leader appends a configuration only when the one before is committed (§6), so of
  the older ones only that just before may still decide, and only while the last is not committed.
  A joint configuration names it (``old_voters``); one that follows a joint one has the same new
  voters; one of an earlier recovery follows what that gave up, and said so; else the voters have
  not changed.
* A newer one: it comes into force by a joint one, which needs a majority of the voters that the
  survivors know, or is the end of the joint one that they know, which needs its new voters alone.
So the newest log is complete if the lost are a majority of neither of its sets of voters: of a
joint configuration, one of the two is enough for them.

The code that confirms a plan is a digest of all that it rests on: a plan made of other facts, or on
another day, has another one.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from quorate.base.checksum import stable_hash
from quorate.base.codec import encode
from quorate.base.errors import BadInput
from quorate.base.ids import GROUP_NAMES, GroupId, NodeId, ReplicaId
from quorate.node.config import NodeConfig
from quorate.node.identity import NodeIdentity
from quorate.node.survivor import GroupReport, Survivor
from quorate.raft.core.configuration import Configuration, fault_of
from quorate.raft.core.entries import NOBODY, Entry, EntryKind, HardState
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshotter import start_of_log, start_of_term
from quorate.raft.wal import Recovered, Wal
from quorate.runtime.ports import World

TERMS = 1_000_000
"""Above the survivors' highest: so many elections the lost ones have not had since."""


class GroupPlan(NamedTuple):
    """What is to be done about one group."""

    group: GroupId
    writer: NodeId
    """The survivor with the newest log."""
    newest: GroupReport
    term: int
    """Of the entry that is appended."""
    configuration: Configuration
    """Which that entry holds."""
    lost_names: tuple[str, ...]
    complete: bool
    """Whether everything that was acknowledged is in the newest log, for certain."""


class Plan(NamedTuple):
    """What is to be done, and by which survivor."""

    survivors: tuple[Survivor, ...]
    groups: tuple[GroupPlan, ...]
    code: str

    def name(self, node: NodeId) -> str:
        return next(survivor.name for survivor in self.survivors if survivor.node == node)

    def writes(self, node: NodeId) -> bool:
        """Whether that survivor has an entry to write."""
        return any(group.writer == node for group in self.groups)


def make_plan(survivors: Sequence[Survivor]) -> Plan:
    """What these survivors can go on with.

    Raises ``BadInput`` if they do not belong together, or are a majority: then nothing is lost.
    """
    together = tuple(sorted(survivors, key=lambda survivor: survivor.node))
    for survivor in together[1:]:
        if survivor.cluster != together[0].cluster:
            raise BadInput(
                f"{survivor.name} belongs to the cluster {survivor.cluster}, and"
                f" {together[0].name} to {together[0].cluster}: leave one of the reports out."
            )
    if len({survivor.node for survivor in together}) != len(together):
        raise BadInput("Two of the reports are of the same node: give one report of each survivor.")
    groups = [_plan_group(group.group, together) for group in together[0].groups]
    broken = tuple(group for group in groups if group is not None)
    if not broken:
        names = ", ".join(survivor.name for survivor in together)
        raise BadInput(
            f"{names} can decide without the others, so nothing is lost: start"
            f" {'it' if len(together) == 1 else 'them'} ('quorate node --config FILE'), and replace"
            " what is missing; nothing was changed."
        )
    return Plan(together, broken, f"{stable_hash(encode(together)) & 0xFFFFFFFF:08x}")


def _plan_group(group: GroupId, survivors: Sequence[Survivor]) -> GroupPlan | None:
    """``None`` if the survivors can decide in this group."""
    reports = {survivor.node: survivor.group(group) for survivor in survivors}
    writer = max(reports, key=lambda n: (reports[n].last_term, reports[n].last_index, -n))
    newest = reports[writer]
    before = newest.configuration
    left = {report.replica: survivor for survivor in survivors for report in survivor.groups}
    for survivor in survivors:
        if reports[survivor.node].replica not in before.members:
            raise BadInput(
                f"{survivor.name} is not a member of the group {GROUP_NAMES[group]}, as the newest"
                " log says: leave its report out."
            )
    if before.is_quorum(lambda voter: voter in left):
        return None
    voters = tuple(report.replica for report in reports.values())
    gone = tuple(member for member in before.members if member not in left)
    after = Configuration(
        voters,
        {voter: left[voter].rpc for voter in voters},
        names={voter: left[voter].name for voter in voters},
        lost=(*before.lost, *gone),
    )
    if (why := fault_of(after)) is not None:
        raise BadInput(f"these survivors cannot be a group: {why}")
    return GroupPlan(
        group,
        writer,
        newest,
        max(report.term for report in reports.values()) + TERMS,
        after,
        tuple(_name(before, replica) for replica in gone),
        not any(_is_majority(gone, voters) for voters in (before.voters, before.old_voters)),
    )


def _is_majority(replicas: Sequence[ReplicaId], voters: Sequence[ReplicaId]) -> bool:
    return 2 * len(set(replicas) & set(voters)) > len(voters)


def _name(configuration: Configuration, replica: ReplicaId) -> str:
    return configuration.names.get(replica) or f"the replica at {configuration.addresses[replica]}"


def sentences(plan: Plan) -> list[str]:
    """The plan, for who must decide."""
    said = []
    for group in plan.groups:
        newest, writer = group.newest, plan.name(group.writer)
        lost = ", ".join(group.lost_names)
        when = _time(newest.time_ms)
        kept = (
            f"{GROUP_NAMES[group.group]}: {writer} has the newest log of the survivors; it ends at"
            f" entry {newest.last_index} of term {newest.last_term}"
            f" ({f'its last change is of {when}' if when else 'it holds no change yet'}; up to"
            f" entry {newest.committed_index} it is known to be committed).  All of it is kept."
        )
        if group.complete:
            may = (
                f"Nothing that was acknowledged is lost: {lost} alone could not decide, so each"
                " acknowledged change is in it."
            )
        else:
            may = (
                f"What may be lost: {lost} could decide without"
                f" {'it' if len(plan.survivors) == 1 else 'these'}, so whatever was acknowledged"
                f" after that entry ({f'after {when}' if when else 'at all'}) reached only them,"
                " and is gone with them."
            )
        said.append(f"{kept}  {may}")
    return said


def _time(time_ms: int) -> str:
    if not time_ms:
        return ""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


async def execute(
    world: World, config: NodeConfig, identity: NodeIdentity, plan: Plan
) -> list[GroupPlan]:
    """Write this node's part of the plan, durably; what was written.

    ``world`` is that of the process which holds the replicas, and nobody else works in it.  All
    groups are written as one batch: after a crash, all of it is there or nothing.
    """
    mine = [group for group in plan.groups if group.writer == identity.node]
    wal, recovered = await Wal.open(world.disk, identity.cluster, identity.node)
    with closing(wal):
        store = await SnapshotStore.open(world)
        for group in mine:
            found = recovered.get(group.group) or Recovered(HardState(), 0, 0, [])
            snapshot = store.newest(group.group)
            log = start_of_log(wal, group.group, found, snapshot)
            start_of_term(wal, group.group, found.state, snapshot)
            if (log.last_index, log.last_term) != (group.newest.last_index, group.newest.last_term):
                raise BadInput("the log has changed since it was read: run 'quorate recover' again")
            wal.set_state(group.group, HardState(group.term, NOBODY))
            data = encode(group.configuration)
            index = log.last_index + 1
            wal.append(group.group, [Entry(index, group.term, EntryKind.CONFIGURATION, data)])
        await wal.sync()
    for group in mine:
        world.trace.event(
            "recovered from a lost majority",
            group=GROUP_NAMES[group.group],
            index=group.newest.last_index + 1,
            term=group.term,
            voters=",".join(map(str, group.configuration.voters)),
            lost=",".join(map(str, group.configuration.lost)),
        )
    return mine


def report_of(data: bytes, where: str) -> Survivor:
    """What ``quorate recover --report`` printed; raises ``BadInput``."""
    try:
        found = msgspec.json.decode(data, type=Survivor)
        why = next(filter(None, (fault_of(group.configuration) for group in found.groups)), "")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = str(error)
    else:
        if sorted(group.group for group in found.groups) != sorted(GROUP_NAMES):
            why = "it does not hold each group once"
        if not why:
            return found
    raise BadInput(
        f"{where} is no report of a survivor ({why}): make one with 'quorate recover --report"
        " --config FILE' on that machine."
    )
