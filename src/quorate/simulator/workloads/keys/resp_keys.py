"""Clients that speak RESP to the keys of others: ends given and taken in one EXEC, and SCAN.

An EXEC looks at its key before and behind what it does, and at the key ``CLOCK``: so it says at
which revision and log time it stands, and is judged as all transactions are (``serial``).
"""

from quorate.base.check import check
from quorate.base.errors import Maybe, QuorateError, Unavailable
from quorate.linearizability.history import Outcome
from quorate.simulator.workloads.keys.plain import PlainPlayer
from quorate.simulator.workloads.keys.record import (
    CLOCK,
    CLOCK_TTL_MS,
    ENDING,
    Scanned,
    Tx,
    Version,
    now_ms,
)
from quorate.simulator.workloads.keys.resp_clients import RespPlayer, Words
from quorate.simulator.workloads.keys.transactions import TTLS_MS, ended

COUNTS = (2, 4, 7)
MOST_PAGES = 100
ELSEWHERE = 0.2
"""How often a scan goes on at another node."""


class RespKeysPlayer(PlainPlayer, RespPlayer):
    """Of keys that end, and of all keys."""

    async def _fade(self) -> None:
        key, rng, value = self.rng.choice(ENDING), self.rng, self.tag()
        ttl_ms = rng.choice(TTLS_MS)
        ways: dict[str, tuple[Words, ...]] = {
            "set": (("SET", key, value, "PX", ttl_ms), ("PSETEX", key, ttl_ms, value)),
            "keep": (("SET", key, value, "KEEPTTL"),),
            "plain": (("SET", key, value), ("GETSET", key, value)),
            "expire": (("PEXPIRE", key, ttl_ms), ("GETEX", key, "PX", ttl_ms)),
            "persist": (("PERSIST", key), ("GETEX", key, "PERSIST")),
            "delete": (("DEL", key), ("GETDEL", key)),
        }
        kind = rng.choice(("set", *ways))
        values = (value,) if kind in ("set", "keep", "plain") else ()
        tx = Tx(self.name, kind, (key,), now_ms(), (key,), values=values)
        await self._exec_tx(tx, key, rng.choice(ways[kind]))
        if tx.held:
            tx.expected = {key: ended(kind, tx, key, value, ttl_ms)}

    async def _exec_tx(self, tx: Tx, key: bytes, change: Words) -> None:
        self.seen.txs.append(tx)
        clock: list[Words] = [("SET", CLOCK, "", "PX", CLOCK_TTL_MS)]
        clock += [("PEXPIRETIME", CLOCK), ("QUORATE.FENCE", CLOCK)]
        look: list[Words] = [("GET", key), ("QUORATE.FENCE", key), ("PEXPIRETIME", key)]
        try:
            found = (await self._ask(("MULTI",), *clock, *look, change, *look, ("EXEC",)))[-1]
        except Unavailable as error:
            found = error
        if isinstance(found, Maybe):
            return
        if isinstance(found, QuorateError):
            tx.outcome = Outcome.FAIL
            return
        _, at_ms, tx.revision, *before = found[:6]
        tx.held, tx.time_ms = True, at_ms - CLOCK_TTL_MS
        tx.before, tx.after = {key: _version(*before)}, {key: _version(*found[-3:])}
        self.done(tx)

    async def _walk(self) -> None:
        """From the beginning to the end, from node to node, or until it cannot go on."""
        if not self.seen.standing:
            await self._stand()
        there, found = self.seen.standing, list[bytes]()
        count, cursor = self.rng.choice(COUNTS), 0
        match: Words = self.rng.choice(((), ("MATCH", "z*")))
        for _ in range(MOST_PAGES):
            if self.rng.random() < ELSEWHERE:
                self._leave()
            try:
                [answer] = await self._ask(("SCAN", cursor, *match, "COUNT", count))
            except Unavailable:
                return
            if isinstance(answer, QuorateError):
                return
            cursor, keys = int(answer[0]), answer[1]
            strange = [key for key in keys if match and not key.startswith(b"z")]
            check(not strange, f"Scan: {self.name} was given {strange}, which do not match")
            found += keys
            if not cursor:
                self.seen.scans.append(Scanned(self.name, found, there))
                return


def _version(value: bytes | None, revision: int, at_ms: int) -> Version | None:
    return None if value is None else Version(value, revision, max(0, at_ms))
