"""What is wrong with a group: can it decide, who is missing, how much more may fail.

A group decides while a majority of its voters (while they change, one of the old and one of the
new) runs and hears its leader.  Whoever has the newest log is the one to be careful with: what is
not in it, and not on a machine that does not answer, does not exist any more.
"""

from collections.abc import Iterator

from quorate.base.ids import ReplicaId
from quorate.node.doctor.facts import Facts, Finding, GroupLook, Severity, listed, verb
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.membership import CAUGHT_UP_ENTRIES
from quorate.raft.digests import EVERY
from quorate.raft.messages import GroupStatus

SILENT_MS = 3_000
"""Two that run and have not heard each other for so long cannot."""


def of_group(facts: Facts, look: GroupLook) -> Iterator[Finding]:
    """Findings of one group, of which at least one replica answers."""
    configuration = look.configuration
    if configuration is None:
        return
    missing = [voter for voter in configuration.electors if voter not in look.seen]
    if not configuration.is_quorum(lambda voter: voter in look.seen):
        yield _majority_lost(look, configuration, missing)
        return
    leader = look.leader
    if leader is None:
        yield _no_leader(look, configuration)
    else:
        rebuilt = [voter for voter in missing if _successor(look, configuration, voter)]
        if rebuilt:
            yield _rebuilding(look, rebuilt)
        if gone := [voter for voter in missing if voter not in rebuilt]:
            yield _some_missing(look, configuration, gone)
        elif not missing and _spare(look, configuration) == 0:
            yield _no_spare(look, configuration)
        yield from _joint(look, configuration, leader)
        yield from _lagging(facts, look, leader)
        yield from _deaf(look, configuration, leader)
    yield from _diverged(look, configuration)


def _majority_lost(
    look: GroupLook, configuration: Configuration, missing: list[ReplicaId]
) -> Finding:
    newest = look.newest
    heard = [age for replica in missing if (age := look.heard_s(replica)) is not None]
    names, holder = look.all_names(missing), look.name(newest.replica)
    needed = _needed(look, configuration)
    if needed == 1 and not configuration.is_joint:
        enough = " or ".join(map(look.name, missing))
    elif needed == len(missing) or configuration.is_joint:
        enough = names
    else:
        enough = f"{needed} of {names}"
    return Finding(
        Severity.STOPPED,
        "majority-lost",
        f"nothing can be decided: {names} {verb(len(missing), 'does', 'do')} not answer, and"
        f" {len(missing)} of {len(configuration.electors)} voters are too many.  Of those that"
        f" answer, {holder} has the newest log (entry {newest.last_index} of term"
        f" {newest.last_term}, {newest.commit_index} of them known to be committed).",
        f"start {enough} again, with the disk that it had ('quorate node --config FILE' on that"
        " machine), and all goes on by itself, with nothing lost.  Only if these disks are lost"
        f" for ever: stop {holder} and run 'quorate recover --config FILE' there; it changes"
        " nothing at first, and says what would be lost.",
        f"wipe or bootstrap any machine, and do not recover while the disk of {names} may come"
        " back.",
        (look.title,),
        min(heard, default=None),
    )


def _needed(look: GroupLook, configuration: Configuration) -> int:
    here = sum(voter in look.seen for voter in configuration.voters)
    return len(configuration.voters) // 2 + 1 - here


def _no_leader(look: GroupLook, configuration: Configuration) -> Finding:
    reasons = []
    standing = [s for s in look.statuses if s.role in ("pre_candidate", "candidate")]
    for status in standing:
        newer = [
            other.replica
            for other in look.statuses
            if (other.last_term, other.last_index) > (status.last_term, status.last_index)
            and other.replica in configuration.electors
        ]
        if newer:
            reasons.append(
                f"{look.name(status.replica)} asks for votes with a log that ends at entry"
                f" {status.last_index} of term {status.last_term}, and {look.all_names(newer)}"
                f" {verb(len(newer), 'has a newer one and refuses', 'have newer ones and refuse')}"
            )
        else:
            reasons.append(f"{look.name(status.replica)} asks for votes")
    cut = _cut_links(look)
    if cut:
        reasons.append(
            "between " + listed(cut) + " nothing has come through for some seconds, in at least one"
            " direction"
        )
    if not standing:
        reasons.append("nobody stands for election yet")
    terms = {look.name(s.replica): s.term for s in look.statuses}
    if len(set(terms.values())) > 1:
        views = [f"{name} is in term {term}" for name, term in terms.items()]
        reasons.append(listed(views))
    silent = [s.heard_ms[v] for s in look.statuses for v in configuration.voters if v in s.heard_ms]
    return Finding(
        Severity.STOPPED,
        "no-leader",
        f"a majority runs, but nobody leads: {'; '.join(reasons)}.",
        "mend the network between these machines: each must reach the address 'rpc' of each other."
        if cut
        else "wait some seconds and ask again: an election takes about one.  If it stays so, look"
        " at raft.log in the data directories.",
        "stop machines that run: each of them is needed to elect a leader.",
        (look.title,),
        max(silent, default=0) / 1000 if silent else None,
    )


def _cut_links(look: GroupLook) -> list[str]:
    """Pairs that do not hear each other though both answer here, and nobody leads.

    Who stands for election asks everybody, so all hear each other within a moment.
    """
    pairs = []
    for mine in look.statuses:
        for other in look.statuses:
            stands = other.role in ("pre_candidate", "candidate")
            if stands and mine.replica != other.replica:
                age_ms = mine.heard_ms.get(other.replica)
                if age_ms is None or age_ms > SILENT_MS:
                    pairs.append(f"{look.name(other.replica)} and {look.name(mine.replica)}")
    return pairs


def _some_missing(
    look: GroupLook, configuration: Configuration, missing: list[ReplicaId]
) -> Finding:
    spare = _spare(look, configuration)
    names = look.all_names(missing)
    more = f"{spare} more may fail" if spare else "it stops if one more fails"
    heard = [age for replica in missing if (age := look.heard_s(replica)) is not None]
    return Finding(
        Severity.RISK,
        "voter-missing",
        f"{names} {verb(len(missing), 'does', 'do')} not answer; the others decide without"
        f" {verb(len(missing), 'it', 'them')}, and {more}.",
        f"start {names} again with the disk that {verb(len(missing), 'it', 'each')} had; if it does"
        " not start with that, ask 'quorate doctor --config FILE' there; if the disk is lost, put a"
        " new machine in its place: 'quorate join' there, and 'quorate cluster replace'.",
        f"bootstrap {names} again under the old name: what"
        f" {verb(len(missing), 'it', 'they')} promised is gone with the disk.",
        (look.title,),
        max(heard, default=None),
        _behind(look, missing),
    )


def _behind(look: GroupLook, missing: list[ReplicaId]) -> tuple[str, ...]:
    """What silent replicas lack, as far as the leader knows: one that has taken over since they
    fell silent has not heard what they have."""
    leader = look.leader
    known = leader.match_indexes if leader is not None else {}
    return tuple(
        f"{look.name(replica)} lacks {leader.last_index - known[replica]:,} entries of"
        f" {look.title}, or fewer"
        for replica in missing
        if leader is not None and known.get(replica)
    )


def _successor(look: GroupLook, configuration: Configuration, old: ReplicaId) -> bool:
    """Whether the machine of ``old`` is a member under a newer id, too: it is rebuilt."""
    return any(
        other != old and other in look.seen and look.name(other) == look.name(old)
        for other in configuration.members
    )


def _rebuilding(look: GroupLook, rebuilt: list[ReplicaId]) -> Finding:
    names = look.all_names(rebuilt)
    return Finding(
        Severity.RISK,
        "rebuilding",
        f"the replica of {names} was damaged and is being rebuilt from the others, under a new id;"
        " it votes again when it has caught up.",
        "wait, and ask again.",
        "stop another machine meanwhile.",
        (look.title,),
    )


def _no_spare(look: GroupLook, configuration: Configuration) -> Finding:
    names, count = look.all_names(configuration.electors), len(configuration.electors)
    return Finding(
        Severity.RISK,
        "no-spare",
        f"{names} {verb(count, 'is its only voter', 'are its only voters')}: if"
        f" {verb(count, 'that machine', 'one of them')} fails, nothing can be decided"
        f"{verb(count, ', and with its disk all is lost', '')}.",
        f"add {verb(count, 'two more machines', 'one more machine')} ('quorate join'): three voters"
        " are the fewest of which one may fail.",
        groups=(look.title,),
    )


def _spare(look: GroupLook, configuration: Configuration) -> int:
    """How many of those that answer may fail, whichever they are."""
    spares = []
    for voters in filter(None, (configuration.voters, configuration.old_voters)):
        here = sum(voter in look.seen for voter in voters)
        spares.append(here - (len(voters) // 2 + 1))
    return min(spares)


def _joint(look: GroupLook, configuration: Configuration, leader: GroupStatus) -> Iterator[Finding]:
    before = look.before.get(leader.replica)
    if not configuration.is_joint or before is None or before.configuration != configuration:
        return
    silent = [voter for voter in configuration.electors if voter not in look.seen]
    waits = f"; {look.all_names(silent)} do not answer" if silent else ""
    yield Finding(
        Severity.RISK,
        "change-unfinished",
        f"a change of members from {look.all_names(configuration.old_voters)} to"
        f" {look.all_names(configuration.voters)} does not end: it needs a majority of"
        f" both{waits}.",
        "start those of them that do not run; the leader then ends the change by itself.",
        "remove or wipe any machine of either set before it has ended.",
        (look.title,),
    )


def _lagging(facts: Facts, look: GroupLook, leader: GroupStatus) -> Iterator[Finding]:
    before = look.before.get(leader.replica)
    for replica, match_index in leader.match_indexes.items():
        lag = leader.last_index - match_index
        if lag <= CAUGHT_UP_ENTRIES or replica not in look.seen:
            continue
        gain, pace = 0, ""
        if before is not None and replica in before.match_indexes:
            gain = before.last_index - before.match_indexes[replica] - lag
            seconds = facts.between_ms / 1000
            pace = (
                f" and catches up: {gain / seconds:,.0f} entries a second, so it needs about"
                f" {lag * seconds / gain:,.0f} s"
                if gain > 0
                else " and does not catch up"
            )
        yield Finding(
            Severity.RISK,
            "lagging",
            f"{look.name(replica)} lacks {lag:,} entries of the leader's log{pace}; until then it"
            " cannot stand in for another.",
            "wait, and ask again."
            if gain > 0
            else f"look at disk, network and raft.log of {look.name(replica)}.",
            "stop another machine meanwhile.",
            (look.title,),
        )


def _deaf(look: GroupLook, configuration: Configuration, leader: GroupStatus) -> Iterator[Finding]:
    """Members that answer the doctor, and not their leader."""
    for replica in configuration.members:
        age_ms = leader.heard_ms.get(replica)
        if replica == leader.replica or replica not in look.seen:
            continue
        if age_ms is None or age_ms > SILENT_MS:
            yield Finding(
                Severity.RISK,
                "link-cut",
                f"{look.name(replica)} runs, but its leader {look.name(leader.replica)}"
                f" {'has not heard it yet' if age_ms is None else 'does not hear it'}: the link"
                " between the two is cut, in at least one direction.",
                f"mend the network between {look.name(replica)} and {look.name(leader.replica)}.",
                groups=(look.title,),
                since_s=None if age_ms is None else age_ms / 1000,
            )


def _diverged(look: GroupLook, configuration: Configuration) -> Iterator[Finding]:
    told = {replica: at for status in look.statuses for replica, at in status.diverged.items()}
    by_index: dict[int, dict[int, list[ReplicaId]]] = {}
    for status in look.statuses:
        same = by_index.setdefault(status.last_applied, {})
        same.setdefault(status.digest, []).append(status.replica)
    for index, digests in by_index.items():
        most = max(map(len, digests.values()))
        for replicas in digests.values():
            if len(digests) > 1 and len(replicas) < most:
                told.update({replica: index for replica in replicas if replica not in told})
    for replica, index in told.items():
        if replica in configuration.members:
            yield _different(look, replica, index)


def _different(look: GroupLook, replica: ReplicaId, index: int) -> Finding:
    name = look.name(replica)
    if replica in look.seen:
        now = (
            f"It still answers, so what is read there may be wrong.  Leaders compare at each"
            f" {EVERY}th entry; at the next one it goes into quarantine."
        )
    else:
        now = "It is in quarantine, and takes no step until it is rebuilt from the others."
    return Finding(
        Severity.RISK,
        "diverged",
        f"the state of {name} differs from that of the others at entry {index}: its disk or memory"
        f" has lied, or there is a bug.  {now}",
        f"let {name} run, or start it again: it is rebuilt by itself; if that comes again, replace"
        " its memory or disk.  What was wrong is kept there, in raft.damaged-ID.",
        f"remove quarantine.json to make {name} start.",
        (look.title,),
    )
