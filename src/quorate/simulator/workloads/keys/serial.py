"""Are these transactions strictly serializable?  With revisions that is a matter of sorting.

Each transaction says at which revision it stands, and each key that was read the revision of its
last change.  So the only order that can be right is known, and all that has to be shown is:

* Real time: what begins after something has ended stands behind it; log time never runs back.
* Each transaction finds of each key what the one before it has left, unless that has ended by log
  time or there is a transaction of unknown outcome that may have come between; and leaves what its
  own operations make of it.
* A look, which has no place in the log, fits between two transactions; if it says of which
  revision it is, each key is what the last transaction up to there has left, in the same manner.

That is exact for transactions whose outcome is known: an order in which every read finds the last
write, and which real time agrees with, is a strict serialization.  Where outcomes are unknown a
violation may be missed, and none is invented.  No end of a key is forgotten or invented either,
since ends are part of what is read.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from quorate.base.check import check
from quorate.linearizability.history import Outcome
from quorate.simulator.workloads.keys.record import (
    ACCOUNTS,
    GUARDED,
    TRANSACTED,
    Change,
    Look,
    Tx,
    Version,
    Versions,
)
from quorate.simulator.workloads.keys.transactions import BALANCE, balance


def judge_transactions(txs: Sequence[Tx], looks: Sequence[Look], changes: Sequence[Change]) -> None:
    """Raise ``Bug`` unless all of that is true."""
    known = sorted((tx for tx in txs if tx.outcome is Outcome.OK), key=lambda tx: tx.revision)
    for earlier, later in pairwise(known):
        check(earlier.revision < later.revision, f"Revisions: {earlier} and {later} have the same")
        check(
            earlier.time_ms <= later.time_ms, f"Log time: {later} is at an earlier one: {earlier}"
        )
    for tx in known:
        _judge_by_itself(tx)
    _judge_bank([tx.after for tx in known] + [look.versions for look in looks])
    unknown = [tx for tx in txs if tx.outcome is Outcome.INFO]
    for key in dict.fromkeys(key for tx in known for key in tx.keys):
        _judge_key(key, known, [tx for tx in unknown if key in tx.touches])
    bounds = _judge_real_time(known, looks)
    _judge_looks(known, looks, bounds)
    _judge_places(known, unknown, looks)
    _judge_untouched(known, changes)
    _judge_fence(known)


def _judge_by_itself(tx: Tx) -> None:
    for key in tx.keys:
        for found in (tx.before[key], tx.after[key]):
            if found is not None:
                check(
                    not found.at_ms or found.at_ms > tx.time_ms,
                    f"Ends: {tx} saw {key!r} at log time {tx.time_ms}, after its end {found.at_ms}",
                )
                check(found.revision <= tx.revision, f"Revisions: {tx} saw a later one of {key!r}")
    for key, expected in tx.expected.items():
        found = tx.after[key]
        check(found == expected, f"Effect: {tx} must leave {expected} of {key!r}, not {found}")
    met = all(_revision(tx.before[key]) == revision for key, revision in tx.revisions.items())
    if not tx.untouched:
        check(met is tx.held, f"Conditions: {tx} found {tx.before}, and was {tx.held}")


def _revision(found: Version | None) -> int:
    return 0 if found is None else found.revision


def _judge_bank(found: Iterable[Versions]) -> None:
    for versions in found:
        if all(account in versions for account in ACCOUNTS):
            total = sum(balance(versions[account]) for account in ACCOUNTS)
            check(
                total == BALANCE * len(ACCOUNTS),
                f"Bank: somebody saw {total} in all accounts together: {versions}",
            )


def _judge_key(key: bytes, known: Sequence[Tx], unknown: Sequence[Tx]) -> None:
    """Each finds what the one before has left."""
    left: Version | None = None
    last: Tx | None = None
    for tx in known:
        if key not in tx.keys:
            continue
        found = tx.before[key]
        ended = left is not None and 0 < left.at_ms <= tx.time_ms
        if found != left and not (found is None and ended):
            check(
                _may_explain(found, left, last, tx, unknown),
                f"Transactions: {tx} found {found} of {key!r}, and {last} had left {left}",
            )
        left, last = tx.after[key], tx


def _may_explain(
    found: Version | None,
    left: Version | None,
    last: Tx | None,
    tx: Tx,
    unknown: Sequence[Tx],
) -> bool:
    """Whether something of unknown outcome may stand between ``last`` and ``tx``."""
    between = [other for other in unknown if tx.returned is None or other.invoked < tx.returned]
    if found is None:
        return bool(between)
    if last is not None and not last.revision < found.revision < tx.revision:
        return False
    same_value = left is not None and found.value == left.value
    return any(found.value in other.values or same_value for other in between) or (
        # Of one that gave it another end the value is that of one before it.
        len(between) > 1 and any(found.value in other.values for other in unknown)
    )


class _Behind(NamedTuple):
    """What something stands behind, since it began later than that had ended."""

    revision: int = 0
    time_ms: int = 0
    what: str = "nobody"


def _judge_real_time(known: Sequence[Tx], looks: Sequence[Look]) -> dict[int, _Behind]:
    """Sweep over true time; gives what each one stands behind, by identity."""
    events: list[tuple[float, int, Tx | Look]] = []
    everything: list[Tx | Look] = [*known, *looks]
    for each in everything:
        events.append((each.invoked, 0, each))
        events.append((each.returned or 0.0, 1, each))
    events.sort(key=lambda event: event[:2])
    now, bounds = _Behind(), dict[int, _Behind]()
    for _, has_ended, each in events:
        if not has_ended:
            bounds[id(each)] = now
            continue
        behind, place = bounds[id(each)], each.revision
        if isinstance(each, Tx):
            check(
                place > behind.revision,
                f"Real time: {each} is at revision {place}, and began after {behind.what}, which is"
                f" at {behind.revision}",
            )
            now = now._replace(time_ms=max(now.time_ms, each.time_ms))
        else:
            check(
                not place or place >= behind.revision,
                f"Real time: {each.client} read at revision {place}, and began after"
                f" {behind.what}, which is at {behind.revision}",
            )
            place = max(place, *map(_revision, each.versions.values()))
        if place > now.revision:
            now = now._replace(revision=place, what=str(each))
    return bounds


def _judge_looks(known: Sequence[Tx], looks: Sequence[Look], bounds: Mapping[int, _Behind]) -> None:
    """Each key has its version from its revision on to before the next known change of it; a look
    has a moment that is in all of these, and behind what ended before it began."""
    changes: dict[bytes, list[int]] = {}
    for tx in known:
        for key in tx.touches:
            if tx.before.get(key) != tx.after.get(key):
                changes.setdefault(key, []).append(tx.revision)
    for look in looks:
        behind = bounds[id(look)]
        begins = max(behind.revision, look.revision, *map(_revision, look.versions.values()))
        for key, found in look.versions.items():
            if found is None:
                continue
            following = next((r for r in changes.get(key, ()) if r > found.revision), None)
            check(
                following is None or begins < following,
                f"Stale look: {look.client} saw {found} of {key!r} at {look.invoked:.1f} ms, at"
                f" revision {begins} or later, and it was changed at {following}",
            )
            check(
                not found.at_ms or found.at_ms > behind.time_ms,
                f"Ends: {look.client} saw {key!r} at {look.invoked:.1f} ms, at log time"
                f" {behind.time_ms} or later, after its end {found.at_ms}",
            )


def _judge_places(known: Sequence[Tx], unknown: Sequence[Tx], looks: Sequence[Look]) -> None:
    """What a look of a known revision must have found."""
    revisions = [tx.revision for tx in known]
    last_of: dict[bytes, list[Tx]] = {}
    for tx in known:
        for key in tx.keys:
            last_of.setdefault(key, []).append(tx)
    for look in looks:
        if look.time_ms:
            place = bisect_right(revisions, look.revision)
            for tx in known[max(0, place - 1) : place + 1]:
                is_before = tx.revision <= look.revision
                check(
                    tx.time_ms <= look.time_ms if is_before else look.time_ms <= tx.time_ms,
                    f"Log time: {look.client} was told that at revision {look.revision} it is"
                    f" {look.time_ms}, and {tx}, at {tx.revision}, is at {tx.time_ms}",
                )
        for key, found in look.versions.items() if look.revision else ():
            those = last_of.get(key, [])
            number = bisect_right(those, look.revision, key=lambda tx: tx.revision)
            last = those[number - 1] if number else None
            left = last.after[key] if last is not None else None
            is_over = left is not None and 0 < left.at_ms <= (look.time_ms or left.at_ms)
            if found == left or (found is None and is_over) or key not in TRANSACTED:
                continue
            as_tx = Tx(look.client, "look", (key,), look.invoked, returned=look.returned)
            as_tx.revision = look.revision + 1
            others = [tx for tx in unknown if key in tx.touches]
            check(
                _may_explain(found, left, last, as_tx, others),
                f"Look: {look.client} saw {found} of {key!r} at revision {look.revision}, and"
                f" {last} had left {left}",
            )


def _judge_untouched(known: Sequence[Tx], changes: Sequence[Change]) -> None:
    touched: dict[bytes, list[tuple[int, str]]] = {}
    for change in changes:
        found = touched.setdefault(change.key, [])
        found.append((change.revision, f"the change at {change.revision}"))
    for tx in known:
        for key in tx.touches if tx.held else ():
            touched.setdefault(key, []).append((tx.revision, str(tx)))
    for tx in known:
        for key, since in tx.untouched.items() if tx.held else ():
            between = [who for at, who in touched.get(key, ()) if since < at < tx.revision]
            check(
                not between,
                f"Untouched: {tx} found {key!r} untouched from revision {since} to {tx.revision},"
                f" but for {', '.join(between)}",
            )


def _judge_fence(known: Sequence[Tx]) -> None:
    """Nobody writes with an older token after a newer one."""
    newest = 0
    for tx in known:
        for found in (tx.before.get(GUARDED), tx.after.get(GUARDED)):
            if found is not None:
                token = int(found.value)
                check(token >= newest, f"Fencing: {tx} saw token {token} after {newest}")
                newest = token
