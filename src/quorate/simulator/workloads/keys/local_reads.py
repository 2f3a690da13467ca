"""Clients that read what their node has, after ``READONLY``, and what such reads promise.

They may be old.  But what a node has only grows: so on one connection

* nothing is taken back: who has seen revision *r* of any key sees, in the same answers and later,
  each key at least as it was at *r*;
* nothing is invented, and nothing comes from the future: each version is one that somebody wrote,
  who had begun to before it was read.

The keys are those of transactions, whose revisions are known, and which do not end; ``CLOCK`` among
them, which every transaction writes.  After ``READWRITE`` a read is as good as any, and is judged
with the registers of all.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from quorate.base.check import check
from quorate.base.errors import QuorateError, Unavailable
from quorate.linearizability.history import Outcome
from quorate.simulator.workloads.keys.player import TIMEOUTS_MS
from quorate.simulator.workloads.keys.record import (
    ACCOUNTS,
    CLOCK,
    GUARDED,
    KEYS,
    SHARED,
    Glance,
    Tx,
    now_ms,
)
from quorate.simulator.workloads.keys.resp import RespClient, resp_address
from quorate.simulator.workloads.keys.resp_clients import Piped, RespPlayer, Words

GLANCED = (*SHARED, *ACCOUNTS, GUARDED)
AT_ONCE = 3
"""So many of them are read in one go, beside ``CLOCK``."""
LEAVES, RETURNS = 0.03, 0.2
"""How often a client goes to another node, and how often it asks for what is true now."""


class LocalPlayer(RespPlayer):
    """One client, with one more connection."""

    _near: RespClient | None = None
    _near_name = ""

    async def _glance(self) -> None:
        keys = (CLOCK, *self.rng.sample(GLANCED, AT_ONCE))
        words: list[Words] = [(name, key) for key in keys for name in ("GET", "QUORATE.FENCE")]
        try:
            near = await self._connected()
            for _ in range(self.rng.choice((1, 2, 3))):
                answers = await near.do(*words, timeout_ms=self.rng.choice(TIMEOUTS_MS))
                if any(isinstance(answer, QuorateError) for answer in answers):
                    return
                pairs = zip(answers[::2], answers[1::2], strict=True)
                found = dict(zip(keys, pairs, strict=True))
                self.seen.glances.append(Glance(self._near_name, now_ms(), found))
                await self.world.clock.sleep(self.rng.uniform(0, 30))
            if self.rng.random() < RETURNS:
                await self._read_truly(near)
        except Unavailable:
            return

    async def _connected(self) -> RespClient:
        if self._near is None or not self._near.is_open or self.rng.random() < LEAVES:
            if self._near is not None:
                self._near.close()
            self._near, self._near_name = RespClient(self.world), self.tag().decode()
            await self._near.connect(resp_address(self.rng.choice(self.names)))
            [answer] = await self._near.do(("READONLY",), timeout_ms=TIMEOUTS_MS[0])
            if isinstance(answer, QuorateError):
                raise Unavailable("the connection ended as soon as it began")
        return self._near

    async def _read_truly(self, near: RespClient) -> None:
        register = self.rng.choice(KEYS["register"])
        read = Piped(("GET", register), self.invoke("read", register, None))
        words: tuple[Words, ...] = (("READWRITE",), read.words, ("READONLY",))
        answers = await near.do(*words, timeout_ms=self.rng.choice(TIMEOUTS_MS))
        self.answered(read.operation, answers[1])


class _Change(NamedTuple):
    revision: int
    value: bytes | None
    began: float


def judge_glances(glances: Sequence[Glance], txs: Sequence[Tx]) -> None:
    """Raise ``Bug`` unless they kept their word; those of one connection are in order."""
    known = sorted((tx for tx in txs if tx.outcome is Outcome.OK), key=lambda tx: tx.revision)
    unknown = [tx for tx in txs if tx.outcome is Outcome.INFO]
    changes: defaultdict[bytes, list[_Change]] = defaultdict(list)
    for tx in known:
        changes[CLOCK].append(_Change(tx.revision, b"", tx.invoked))
        for key in tx.touches:
            if tx.before[key] != tx.after[key]:
                left = tx.after[key]
                value = None if left is None else left.value
                changes[key].append(_Change(tx.revision, value, tx.invoked))
    reached: defaultdict[str, int] = defaultdict(int)
    for glance in glances:
        seen = max(revision for _, revision in glance.values.values())
        bound = reached[glance.connection] = max(reached[glance.connection], seen)
        for key, (value, revision) in glance.values.items():
            open_ones = [tx for tx in unknown if key in tx.touches or key == CLOCK]
            begun = [tx for tx in open_ones if tx.invoked < glance.returned]
            where = f"{glance.connection} read {value!r} of {key!r} at {glance.returned:.1f} ms"
            _judge_age(changes[key], revision, bound, where, may_be_gone=bool(begun))
            _judge_origin(changes[key], value, revision, glance, begun, where)


def _judge_age(
    changes: Sequence[_Change], revision: int, bound: int, where: str, *, may_be_gone: bool
) -> None:
    """``changes`` are those of one key, read as of ``revision`` by who has seen ``bound``."""
    place = bisect_right(changes, bound, key=itemgetter(0))
    last = changes[place - 1] if place else None
    if last is None or (not revision and (last.value is None or may_be_gone)):
        return
    check(
        revision >= last.revision,
        f"Local read: {where}, of revision {revision}, on a connection that had seen {bound}: it"
        f" was changed at {last.revision}",
    )


def _judge_origin(
    changes: Sequence[_Change],
    value: bytes | None,
    revision: int,
    glance: Glance,
    begun: Sequence[Tx],
    where: str,
) -> None:
    if not revision:
        return
    place = bisect_right(changes, revision, key=itemgetter(0))
    last = changes[place - 1] if place else None
    if last is not None and last.revision == revision:
        check(
            last.value == value and last.began < glance.returned,
            f"Local read: {where}, and revision {revision} is {last.value!r}, written from"
            f" {last.began:.1f} ms on",
        )
        return
    wrote = any(value in tx.values or value == b"" for tx in begun)
    check(wrote, f"Local read: {where}, of revision {revision}, which nobody wrote")
