"""Clients that read a frozen view of the store, piece by piece, while others go on.

Whatever happens meanwhile, a view is what one revision has left, and says of which log time its
ends are told: ``serial`` judges it with the transactions around it.
"""

from quorate.base.check import check
from quorate.base.codec import decode
from quorate.base.errors import QuorateError
from quorate.kv.core.commands import Entry
from quorate.kv.messages import OpenView
from quorate.kv.viewing import View
from quorate.simulator.workloads.keys.player import TIMEOUTS_MS, Player
from quorate.simulator.workloads.keys.record import PAID, TRANSACTED, Look, Version, now_ms

NAP_MS = 60.0
"""Between two pieces, at most."""


class ViewPlayer(Player):
    """Of everything at once."""

    async def _view(self) -> None:
        invoked, address = now_ms(), self.rng.choice(self.addresses)
        timeout_ms = self.rng.choice(TIMEOUTS_MS)
        try:
            opened = await self.rpc.call(address, OpenView(), timeout_ms=timeout_ms)
            look = Look(self.name, invoked, now_ms(), dict.fromkeys(TRANSACTED), opened.revision)
            look.time_ms = opened.time_ms
            view = View(self.world, self.rpc, address, opened, timeout_ms)
            last = b""
            async for piece in view.pieces():
                for it in decode(piece, list[Entry]):
                    check(it.key > last, f"View: {self.name} was given {it.key!r} after {last!r}")
                    last, left_ms = it.key, it.at_ms
                    at_ms = left_ms and look.time_ms + left_ms
                    look.versions[it.key] = Version(it.value, it.revision, at_ms)
                await self.world.clock.sleep(self.rng.uniform(0, NAP_MS))
            await view.close()
        except QuorateError:
            return  # who holds it may keep it for a while: others are refused there
        self.seen.looks.append(look)
        held = [look.versions.get(key) for key in PAID]
        self.seen.paid.append([int(it.value) if it is not None else 0 for it in held])
