"""Makes faults happen: on processes, links, disks and clocks.

Faults overlap, so each beginning and each end does the same: compute what all that last want
(``faults.in_force``) and make the world so.  A node that shall run and does not is started, unless
its disk is full: it could only end again.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from quorate.base.ids import Address
from quorate.torture.control import Control
from quorate.torture.disks import Disks
from quorate.torture.faults import Fault, State, can_serve, in_force, with_leader
from quorate.torture.history import Clock
from quorate.torture.hosts import Hosts
from quorate.torture.nodes import TortureNode
from quorate.torture.target import Target
from quorate.torture.timeline import Gathering


class Nemesis:
    """All nodes of a run, and what holds for them."""

    def __init__(
        self,
        target: Target,
        hosts: Hosts,
        disks: Disks,
        folder: Path,
        clock: Clock,
        leader: Callable[[], Awaitable[int | None]],
        serves: Callable[[bool], None],
        say: Callable[[str], None],
        gathering: Gathering | None = None,
    ) -> None:
        """``leader`` finds who leads; ``serves`` is told whether a majority can serve."""
        self.nodes = [
            TortureNode(
                number,
                target,
                hosts,
                disks.directory(number),
                folder / f"n{number}.log",
                self._end,
                gathering,
            )
            for number in range(1, len(hosts.addresses) + 1)
        ]
        self.struck: Counter[str] = Counter()
        """Faults that began, by kind."""
        self.out_of_space = 0
        """How often a node ended because its disk was full."""
        self.findings: list[str] = []
        """What no fault explains."""
        self._target = target
        self._hosts = hosts
        self._disks = disks
        self._clock = clock
        self._leader = leader
        self._serves = serves
        self._say = say
        self._gathering = gathering
        self._log = (folder / "faults.jsonl").open("w", encoding="utf-8")
        self._last: list[Fault] = []
        self._state = State()
        self._making = asyncio.Lock()
        self._again: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start all nodes with empty disks."""
        for node in self.nodes:
            await self._target.prepare(
                self._disks.directory(node.number), node.number, len(self.nodes)
            )
        await self._make()

    async def play(self, schedule: Sequence[Fault]) -> None:
        """Begin and end each fault of ``schedule`` in its time, from now."""
        began_s = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(self._one(fault, began_s)) for fault in schedule]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def heal(self) -> None:
        """End all faults."""
        self._last.clear()
        await self._make()
        self._write("heal", None)

    async def close(self) -> None:
        """Kill all nodes."""
        for task in list(self._again):
            task.cancel()
        for node in self.nodes:
            await node.kill()
        self._log.close()

    async def _one(self, fault: Fault, began_s: float) -> None:
        now_s = asyncio.get_running_loop().time
        await asyncio.sleep(began_s + fault.at_ms / 1000 - now_s())
        fault = with_leader(fault, await self._leader() if fault.leader else None)
        self._last.append(fault)
        self.struck[fault.kind] += 1
        self._write("begin", fault)
        if self._gathering is not None:
            self._gathering.begun(fault)
        self._say(str(fault))
        await self._make()
        await asyncio.sleep(began_s + fault.end_ms / 1000 - now_s())
        self._last.remove(fault)
        await self._make()
        self._write("end", fault)
        if self._gathering is not None:
            self._gathering.ended(fault)

    def _write(self, what: str, fault: Fault | None) -> None:
        event: dict[str, Any] = {"process": "nemesis", "type": what, "time": self._clock.now_ns()}
        if fault is not None:
            event["fault"] = {name: getattr(fault, name) for name in fault.__struct_fields__}
        self._log.write(json.dumps(event) + "\n")
        self._log.flush()

    # Making it so.

    async def _make(self) -> None:
        async with self._making:
            state = in_force(self._last, len(self.nodes))
            if state.cut != self._state.cut:
                self._hosts.cut(state.cut)
            before, self._state = self._state, state
            serves = can_serve(state, len(self.nodes))
            if not serves:
                self._serves(False)
            for node in self.nodes:
                await self._make_node(node, state, before)
            self._serves(serves)

    async def _make_node(self, node: TortureNode, state: State, before: State) -> None:
        number = node.number
        node.tell(self._control(number, state))
        if number in before.full and number not in state.full:
            self._disks.free(number, node.pid)
        if number in state.down and node.alive:
            await node.kill()
        elif number not in state.down | state.full and not node.alive and not node.broken:
            await node.start()
        if number in state.full and (number not in before.full or not node.was_full):
            self._disks.fill(number, node.pid)
            node.was_full = True
        if node.alive and (number in state.frozen) is not node.frozen:
            if node.frozen:
                node.thaw()
            else:
                node.freeze()

    def _control(self, number: int, state: State) -> Control:
        cut = sorted(state.cut) if self._hosts.drops else []
        return Control(
            clock_ms=state.clock_ms.get(number, 0.0),
            sync_ms=state.sync_ms.get(number, 0.0),
            loss=state.loss.get(number, 0.0),
            delay_ms=state.delay_ms.get(number, 0.0),
            mute_to=self._addresses(to for sender, to in cut if sender == number),
            deaf_to=self._addresses(sender for sender, to in cut if to == number),
        )

    def _addresses(self, numbers: Iterable[int]) -> tuple[Address, ...]:
        return tuple(self._hosts.addresses[number - 1] for number in numbers)

    def _end(self, node: TortureNode, status: int) -> None:
        if node.explains(status):
            self.out_of_space += 1
            self._say(f"n{node.number} ended: its disk is full")
            again = asyncio.create_task(self._make())
            self._again.add(again)
            again.add_done_callback(self._again.discard)
            return
        node.broken = True
        finding = f"n{node.number} ended by itself with status {status}: {node.last_words()}"
        self.findings.append(finding)
        self._say(finding)
