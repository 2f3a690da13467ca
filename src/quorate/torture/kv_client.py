"""A plain Redis client of the key/value store, in the words of the models.

Rules:
* A client has one connection, which goes to the next node after ``CALLS_A_CONNECTION`` calls, and
  whenever it ends.  It repeats nothing.
* ``-MAYBE``, and what was sent and not answered for whatever reason, is a ``Maybe``.  An answer
  that begins as one of ``REFUSALS`` says that surely nothing was done.  Any other error is a
  finding: our commands are not wrong.
* A register is written by SET and DEL, and compared and set by SET NX where it should be absent,
  else by WATCH, GET, MULTI and EXEC.  One number in ``WIDE_EACH`` is written with so many blanks
  behind it that the store sends it ahead of its operation, as a large value.
* A lock is taken as redis-py's ``Lock`` does, by SET NX PX, and given back by its script.  Its end
  lies further away than clocks jump: the model of a lock knows no end.  In the same EXEC whoever
  finds that there is none takes a lease, which does end, by log time, whatever clocks say.
* Of locks and leases the fencing token comes with them, and is larger than each token of the same
  that was told before; else it is a finding.
"""

import asyncio
import itertools
import ssl
from collections.abc import Sequence

from quorate.base.check import Bug
from quorate.base.errors import Maybe, ProtocolError, QuorateError, Unavailable
from quorate.base.ids import Address
from quorate.gateways.resp.commands.scripts import RELEASE
from quorate.torture.resp import LOST, Answer, Refused, RespConnection, Words
from quorate.torture.target import Call, Value

CALLS_A_CONNECTION = 40
LOCK_MS = 30 * 24 * 3_600_000
LEASE_MS = 200
WIDE_EACH = 16
WIDE_BYTES = 300_000
REFUSALS = ("UNAVAILABLE ", "OOM ")


class Seen:
    """What all clients of a run know together."""

    def __init__(self) -> None:
        self.findings: list[str] = []
        self._tokens: dict[str, int] = {}

    def token(self, key: str) -> int:
        """The largest that was told for this lock; 0: none."""
        return self._tokens.get(key, 0)

    def told(self, key: str, token: Answer, before: int) -> None:
        """It was taken; ``before`` is what ``token`` gave when that was asked for."""
        if not isinstance(token, int) or token <= before:
            self.findings.append(f"fence: {key} was taken with token {token!r} after {before}")
        else:
            self._tokens[key] = max(self.token(key), token)


class KvClient:
    """One of them."""

    def __init__(self, doors: Sequence[Address], tls: ssl.SSLContext | None, seen: Seen) -> None:
        self._doors = itertools.cycle(doors)
        self._tls = tls
        self._seen = seen
        self._redis: RespConnection | None = None
        self._calls = 0

    async def call(self, call: Call, timeout_ms: float) -> tuple[bool, Value]:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await self._do(call, await self._connected())
        except (*LOST, ProtocolError) as error:
            if isinstance(error, ProtocolError):
                self._seen.findings.append(error.message)
            unsure = self._redis is not None and self._redis.unsure
            await self.close()
            words = str(error) or type(error).__name__
            raise (Maybe if unsure else Unavailable)(f"no answer: {words}") from error
        except BaseException:
            await self.close()  # after a refusal, too: nothing is watched or queued any more
            raise

    async def close(self) -> None:
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    async def _connected(self) -> RespConnection:
        self._calls += 1
        if self._calls % CALLS_A_CONNECTION == 0:
            await self.close()
        if self._redis is None:
            self._redis = await RespConnection.open(next(self._doors), self._tls)
        return self._redis

    async def _do(self, call: Call, redis: RespConnection) -> tuple[bool, Value]:
        key = call.key
        match call:
            case Call(f="read" | "get"):
                found = await self._ask(call, redis, ["GET", key])
                if not isinstance(found, bytes):
                    return True, None
                return True, int(found) if call.f == "read" else found.decode()
            case Call(f="write", argument=int() | None as value):
                words: Words = ["DEL", key] if value is None else ["SET", key, self._wide(value)]
                await self._ask(call, redis, words, changes=True)
                return True, None
            case Call(f="append", argument=str(text)):
                await self._ask(call, redis, ["APPEND", key, text], changes=True)
                return True, None
            case Call(f="cas", argument=(None, int(new))):
                words = ["SET", key, self._wide(new), "NX"]
                return await self._ask(call, redis, words, changes=True) is not None, None
            case Call(f="cas", argument=(int(old), int(new))):
                return await self._compare_and_set(call, redis, old, new), None
            case Call(f="acquire"):
                return await self._acquire(call, redis), None
            case Call(f="release"):
                words = ["EVALSHA", RELEASE, 1, key, call.process]
                return await self._ask(call, redis, words, changes=True) == 1, None
        raise Bug(f"keys have no operation {call}")

    async def _compare_and_set(self, call: Call, redis: RespConnection, old: int, new: int) -> bool:
        key = call.key
        found = await self._ask(call, redis, ["WATCH", key], ["GET", key])
        if not isinstance(found, bytes) or int(found) != old:
            await self._ask(call, redis, ["UNWATCH"])
            return False
        exchange: list[Words] = [["MULTI"], ["SET", key, self._wide(new)], ["EXEC"]]
        return await self._ask(call, redis, *exchange, changes=True) is not None

    async def _acquire(self, call: Call, redis: RespConnection) -> bool:
        wanted = {call.key: LOCK_MS, f"lease of {call.key}": LEASE_MS}
        before = {key: self._seen.token(key) for key in wanted}
        words: list[Words] = [["MULTI"]]
        for key, end_ms in wanted.items():
            words += [["SET", key, call.process, "NX", "PX", end_ms], ["QUORATE.FENCE", key]]
        done = await self._ask(call, redis, *words, ["EXEC"], changes=True)
        if not isinstance(done, list) or len(done) != 2 * len(wanted):
            raise ProtocolError(f"EXEC was answered with {done!r}.")
        for key, taken, token in zip(wanted, done[::2], done[1::2], strict=True):
            if taken is not None:
                self._seen.told(key, token, before[key])
        return done[0] is not None

    def _wide(self, number: int) -> str:
        return str(number).ljust(0 if self._calls % WIDE_EACH else WIDE_BYTES)

    async def _ask(
        self, call: Call, redis: RespConnection, *commands: Words, changes: bool = False
    ) -> Answer:
        """The last answer; raises what it says if one, or a part of the last, is an error."""
        answers = await redis.do(*commands, changes=changes)
        last = answers[-1]
        for answer in [*answers, *(last if isinstance(last, list) else [])]:
            if isinstance(answer, Refused):
                raise self._error(call, answer, changes)
        return last

    def _error(self, call: Call, refused: Refused, changes: bool) -> QuorateError:
        if refused.startswith("MAYBE "):
            return (Maybe if changes else Unavailable)(refused)
        if not refused.startswith(REFUSALS):
            self._seen.findings.append(f"{call.f} of {call.key} was answered: {refused}")
        return Unavailable(refused)
