"""Clients that speak RESP: pipelines, WATCH with EXEC, payments in one EXEC, and a lock.

A pipeline goes to the registers, strings and counter of all others, and is judged with them.  The
rest has keys of its own, and is judged by true time alone, as a client could:

* EXEC does nothing if somebody touched the key between WATCH and EXEC, whatever is there then.
* What several accounts hold together is always nothing: EXEC is one moment.
* Fencing tokens never run back.
* Answers of a pipeline are in the order of its commands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quorate.base.check import check
from quorate.base.errors import Maybe, QuorateError, Unavailable
from quorate.gateways.resp.commands.scripts import RELEASE
from quorate.linearizability.history import Operation, Outcome
from quorate.simulator.workloads.keys.plain import VALUES
from quorate.simulator.workloads.keys.player import TIMEOUTS_MS, Player
from quorate.simulator.workloads.keys.record import COUNTER, KEYS, PAID, Moment, Seen, now_ms
from quorate.simulator.workloads.keys.resp import RespClient, resp_address

WATCHED = "x1"
HELD, FENCED = b"k1", b"q1"
HELD_MS = (100, 500, 2_000)
MOST = 3
"""The watched counter is deleted when it has got there."""

Words = Sequence[bytes | str | int]


@dataclass(slots=True)
class Piped:
    """One command of a pipeline, and what is kept of it."""

    words: Words
    operation: Operation


class RespPlayer(Player):
    """One client with one connection, and another one when that has ended."""

    _resp: RespClient | None = None
    _name = b""
    _fence = 0
    """The token of the lock that this client believes to hold; 0: of none."""

    async def _ask(self, *commands: Words) -> list[Any]:
        """Answers; raises ``Unavailable`` if nothing was sent."""
        if self._resp is None or not self._resp.is_open or self.rng.random() < 0.02:
            self._leave()
            self._resp = RespClient(self.world)
            await self._resp.connect(resp_address(self._node()))
        return await self._ask_again(*commands)

    def _leave(self) -> None:
        """The next command goes over another connection."""
        if self._resp is not None:
            self._resp.close()
            self._resp = None

    def _node(self) -> str:
        """Any, or half of the time who leads, as far as this client knows."""
        leader = self.client.leader
        if self.rng.random() < 0.5 and leader in self.addresses:
            return self.names[self.addresses.index(leader)]
        return self.rng.choice(self.names)

    async def _ask_again(self, *commands: Words) -> list[Any]:
        """On the same connection, which watches something."""
        resp = self._resp
        if resp is None:
            raise Unavailable("there was no connection")
        return await resp.do(*commands, timeout_ms=self.rng.choice(TIMEOUTS_MS))

    # Pipelines.

    async def _pipeline(self) -> None:
        piped = [self._draw() for _ in range(self.rng.choice((1, 1, 2, 4)))]
        try:
            answers = await self._ask(*(each.words for each in piped))
        except Unavailable as error:
            answers = [error] * len(piped)
        for each, answer in zip(piped, answers, strict=True):
            self.answered(each.operation, answer)
        added = [each.operation for each in piped if each.operation.f == "add"]
        sums = [int(str(o.result)) for o in added if o.outcome is Outcome.OK]
        check(sums == sorted(set(sums)), f"Pipeline: additions were answered with {sums}")

    def _draw(self) -> Piped:
        register, [string] = self.rng.choice(KEYS["register"]), KEYS["kv"]
        value, text = self.rng.choice(VALUES), f"{self.tag().decode()},"
        kind = self.rng.choice(("get", "get", "set", "setnx", "getdel", "append", "text", "incr"))
        words, f, key, argument = {
            "get": (("GET", register), "read", register, None),
            "set": (("SET", register, value), "write", register, value),
            "setnx": (("SET", register, value, "NX"), "cas", register, (None, value)),
            "getdel": (("GETDEL", register), "write", register, None),
            "append": (("APPEND", string, text), "append", string, text),
            "text": (("GET", string), "get", string, None),
            "incr": (("INCR", COUNTER), "add", COUNTER, 1),
        }[kind]
        return Piped(words, self.invoke(f, key, argument))

    def answered(self, operation: Operation, answer: Any) -> None:
        """Keep what came of ``operation``."""
        reads = operation.f in ("read", "get")
        if isinstance(answer, QuorateError):
            if reads or not isinstance(answer, Maybe):
                operation.outcome = Outcome.FAIL
            return
        text = answer.decode() if isinstance(answer, bytes) else answer
        if operation.f == "cas" and text is None:
            operation.outcome = Outcome.FAIL
            return
        if operation.f == "write" and operation.argument is None:
            operation.f, operation.argument = "cas", (text, None)
        operation.result = text if reads or operation.f == "add" else None
        self.returns(operation)

    # WATCH and EXEC.

    async def _exec(self) -> None:
        try:
            watched, before = await self._ask(("WATCH", WATCHED), ("GET", WATCHED))
        except Unavailable:
            return
        if isinstance(watched, QuorateError) or isinstance(before, QuorateError):
            return
        since = now_ms()
        await self.world.clock.sleep(self.rng.choice((0, self.rng.uniform(0, 400))))
        old = None if before is None else before.decode()
        new = str(int(old or 0) + 1) if int(old or 0) < MOST else None
        change = ("SET", WATCHED, new) if new is not None else ("DEL", WATCHED)
        operation = self.invoke("cas", WATCHED, (old, new))
        try:
            answers = await self._ask_again(("MULTI",), change, ("GET", WATCHED), ("EXEC",))
        except Unavailable as error:
            answers = [error]
        last = answers[-1]
        if isinstance(last, Maybe):
            return
        if last is None or isinstance(last, QuorateError):
            operation.outcome = Outcome.FAIL
            return
        self.returns(operation)
        shown = None if last[1] is None else last[1].decode()
        check(shown == new, f"EXEC: {operation.argument} was done, and behind it is {shown}")
        self.seen.execs.append(Moment(since, operation.invoked, self.name))

    async def _poke(self) -> None:
        """What was there is there again: the key was touched all the same."""
        names = [("SET", WATCHED, "0"), ("DEL", WATCHED)][: self.rng.choice((1, 2, 2))]
        made = [self.invoke("write", WATCHED, "0" if len(n) == 3 else None) for n in names]
        try:
            answers = await self._ask(*names)
        except Unavailable as error:
            answers = [error] * len(names)
        for operation, answer in zip(made, answers, strict=True):
            if not isinstance(answer, QuorateError):
                self.returns(operation)
            elif not isinstance(answer, Maybe):
                operation.outcome = Outcome.FAIL
        if not isinstance(answers[0], QuorateError):
            self.seen.pokes.append(Moment(made[0].invoked, now_ms(), self.name))

    # Payments.

    async def _pay(self) -> None:
        source, target = self.rng.sample(PAID, 2)
        amount = self.rng.randint(1, 9)
        words: list[Words] = [("GET", source), ("DECRBY", source, amount)]
        words += [("INCRBY", target, amount), ("GET", source)]
        try:
            found = (await self._ask(("MULTI",), *words, ("EXEC",)))[-1]
            if self.rng.random() < 0.7:
                self.seen.paid.append(await self._balances())
        except Unavailable:
            return
        if isinstance(found, list):
            before, after = int(found[0] or 0), int(found[3])
            check(
                after == before - amount,
                f"EXEC: {source!r} held {before}, and {after} when {amount} was taken",
            )

    async def _balances(self) -> list[int]:
        multi: list[Words] = [("MULTI",), *(("GET", key) for key in PAID), ("EXEC",)]
        answer = (await self._ask(*self.rng.choice(([("MGET", *PAID)], multi))))[-1]
        return [int(each or 0) for each in answer] if isinstance(answer, list) else []

    # A lock with tokens.

    async def _hold(self) -> None:
        try:
            if not self._fence:
                await self._take()
            elif self.rng.random() < 0.3:
                await self._ask(("EVALSHA", RELEASE, 1, HELD, self._name))
                self._fence = 0
            else:
                await self._write_fenced()
        except Unavailable:
            pass

    async def _take(self) -> None:
        self._name = self.tag()
        take: Words = ("SET", HELD, self._name, "NX", "PX", self.rng.choice(HELD_MS))
        taken, token = await self._ask(take, ("QUORATE.FENCE", HELD))
        if taken == b"OK" and isinstance(token, int):
            self._fence = token
            self.changed(token, HELD, self._name)

    async def _write_fenced(self) -> None:
        """Only while the lock is held, which is watched."""
        _, token = await self._ask(("WATCH", HELD), ("QUORATE.FENCE", HELD))
        if token != self._fence:
            self._fence = 0
            await self._ask(("UNWATCH",))
            return
        await self.world.clock.sleep(self.rng.choice((0, self.rng.uniform(0, 150))))
        began = now_ms()
        words: list[Words] = [("MULTI",), ("GET", FENCED), ("SET", FENCED, token), ("EXEC",)]
        found = (await self._ask_again(*words))[-1]
        if isinstance(found, list):
            self.seen.tokens.append((Moment(began, now_ms(), self.name), token))
            if found[0] is not None:
                self.seen.tokens.append((Moment(began, now_ms(), self.name), int(found[0])))
                check(int(found[0]) <= token, f"Fencing: {token} was written over {found[0]}")


def judge_resp(seen: Seen) -> None:
    """Raise ``Bug`` unless EXEC, payments and tokens kept their word."""
    for done in seen.execs:
        for poke in seen.pokes:
            check(
                not (done.began < poke.began and poke.ended < done.ended),
                f"WATCH: {done.who} watched from {done.began:.1f} ms, {poke.who} touched the key"
                f" from {poke.began:.1f} to {poke.ended:.1f} ms, and EXEC was done after"
                f" {done.ended:.1f} ms",
            )
    for balances in seen.paid:
        check(not balances or sum(balances) == 0, f"EXEC: somebody saw a part of one: {balances}")
    for moment, token in seen.tokens:
        for other, newer in seen.tokens:
            check(
                not (other.ended < moment.began and newer > token),
                f"Fencing: {moment.who} used token {token} at {moment.began:.1f} ms, after"
                f" {other.who} had used {newer}",
            )
