"""The simulated network: streams of frames between addresses, in memory, that fail like TCP.

What is sent is joined into fresh ``bytes``, so no object is ever shared between two processes.
Without faults a batch arrives whole, in order, after the link's delay and the time its bytes take.
With faults a frame may be lost, come twice or come late, even within a connection; frames into a
blocked direction, or to a machine without power, vanish silently.

The end of a connection (close, or death of a process: the kernel resets it) travels like a frame,
in order; where the way is blocked or its machine has no power, it is held until that is over, as
the peer of a real machine hears nothing until packets pass again.

While the receiver is paused its kernel takes what fits into the socket's buffers; what is sent
beyond that stays with the sender, who sees it in ``buffered_bytes``.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from quorate.base.errors import BadConfiguration, ProtocolError, Unavailable
from quorate.base.ids import Address
from quorate.runtime.ports import Certificate, Connection, Frame, FrameReceiver, Listener
from quorate.runtime.simulated.faults import Faults, Link
from quorate.runtime.simulated.loop import SimulatedLoop
from quorate.runtime.simulated.process import SimulatedProcess

T = TypeVar("T")

_BUFFER_BYTES = 1 << 20
"""``drain`` waits while more than this has not left."""
_SOCKET_BYTES = 4 << 20
"""What the two kernels take of what a paused process does not read."""
_PATIENCE_S = 0.01
"""How often ``drain`` looks whether a paused peer reads again."""


class SimulatedWire:
    """What all machines are plugged into: faults, listeners, and ends that wait to be heard."""

    def __init__(self, loop: SimulatedLoop, source: random.Random) -> None:
        self.loop = loop
        self.random = source
        self.faults = Faults(on_unblock=self.release)
        self.listeners: dict[Address, SimulatedListener] = {}
        self.frames_sent = 0
        self.frames_lost = 0
        self.checksum = 0
        """Over every frame that was ever sent, in order."""
        self.networks: list[SimulatedNetwork] = []
        """Of the processes that live."""
        self._without_power: set[str] = set()
        self._held: list[tuple[SimulatedConnection, Exception | None]] = []
        self._next_port = 50_000

    def cut(self, source: str, target: str) -> bool:
        """Nothing passes from ``source`` to ``target`` at present."""
        off = self._without_power
        if not off and not self.faults.blocked:
            return False  # almost always, and asked for each batch twice
        return self.faults.is_blocked(source, target) or source in off or target in off

    def power(self, machine: str, on: bool) -> None:
        if on:
            self._without_power.discard(machine)
            self.release()
        else:
            self._without_power.add(machine)

    def delay_s(self, source: str, target: str) -> float:
        return self.faults.link(source, target).delay_s(self.random)

    def end(self, receiving: SimulatedConnection, error: Exception | None) -> None:
        """Tell ``receiving`` that its other end is gone, as soon as anything passes."""
        if self.cut(receiving.other.machine, receiving.machine):
            self._held.append((receiving, error))
        else:
            sending = receiving.other
            link = self.faults.link(sending.machine, receiving.machine)
            sending.schedule(link, receiving.hear_end, error)

    def release(self) -> None:
        held, self._held = self._held, []
        for receiving, error in held:
            if receiving.process.alive:
                self.end(receiving, error)

    def reset(self, machine: str, other: str | None = None) -> int:
        """Break the connections between ``machine`` and ``other`` (default: everybody), as when
        something between them has forgotten them.  What is under way is lost.  Gives how many."""
        broken = 0
        for network in self.networks:
            if network.process.machine != machine:
                continue
            for connection in network.connections:
                there = connection.other.machine
                if connection.is_open and there != machine and other in (None, there):
                    connection.reset()
                    broken += 1
        return broken

    def free_address(self, address: Address) -> Address:
        """Port 0 becomes a free one, as on a real machine."""
        if not address.endswith(":0"):
            return address
        self._next_port += 1
        return Address(f"{address[:-1]}{self._next_port}")


class SimulatedConnection:
    """One end; ``other`` is the other."""

    def __init__(
        self, wire: SimulatedWire, process: SimulatedProcess, peer: str, max_frame_bytes: int
    ) -> None:
        self.max_frame_bytes = max_frame_bytes
        self.process = process
        self.machine = process.machine
        self.other: SimulatedConnection
        self._receiver: FrameReceiver | None = None
        self._wire = wire
        self._peer = peer
        self._open = True
        self._left_at = 0.0
        self.unread_bytes = 0
        """What was sent to this end since its process was paused."""
        self.arrived_at = 0.0
        """When the last thing sent in order gets to the other end."""

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def certificate(self) -> Certificate | None:
        return None

    def start(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver
        receiver.connected(self)

    def send(self, frames: Sequence[Frame]) -> None:
        self.process.require_alive()
        if not self._open:
            return
        joined = list(map(b"".join, frames))
        wire, here, there = self._wire, self.machine, self.other.machine
        link = wire.faults.link(here, there)
        passes_s = sum(map(len, joined)) / (1000.0 * link.bytes_per_ms)
        self._left_at = max(wire.loop.now, self._left_at) + passes_s
        wire.frames_sent += len(joined)
        for frame in joined:
            wire.checksum = zlib.crc32(frame, wire.checksum)
        if wire.cut(here, there):
            wire.frames_lost += len(joined)
            return
        if not self.other.process.runs:
            self.other.unread_bytes += sum(map(len, joined))
        if link.loss or link.duplicate or link.reorder:
            joined = self._damage(joined, link)
        if joined:
            self.schedule(link, self.other.arrive, joined)

    def _damage(self, frames: list[bytes], link: Link) -> list[bytes]:
        """Take out what is lost, comes late or comes twice; what stays arrives in order."""
        wire = self._wire
        draw = wire.random.random
        kept = []
        for frame in frames:
            if draw() < link.loss:
                wire.frames_lost += 1
                continue
            late = draw() < link.reorder
            if not late:
                kept.append(frame)
            if late or draw() < link.duplicate:
                when = max(self._left_at, self.arrived_at) + link.late_s(wire.random)
                wire.loop.call_at(
                    when, self.other.arrive, [frame], context=self.other.process.context
                )
        return kept

    def schedule(self, link: Link, callback: Callable[[T], object], about: T) -> None:
        """Have the other end's ``callback`` called after the delay, behind what went before."""
        wire = self._wire
        start = max(wire.loop.now, self._left_at)
        self.arrived_at = max(self.arrived_at, start + link.delay_s(wire.random))
        wire.loop.call_at(self.arrived_at, callback, about, context=self.other.process.context)

    def arrive(self, frames: list[bytes]) -> None:
        """At the receiving end: hand over what passes the limit, up to the first that does not."""
        self.unread_bytes = 0
        receiver = self._receiver
        if not self._open or receiver is None:
            return
        if self._wire.cut(self.other.machine, self.machine):
            self._wire.frames_lost += len(frames)
            return
        while frames and self._open:
            limit = self.max_frame_bytes  # may be another after each batch
            passing = 0
            for frame in frames:
                if not 0 < len(frame) <= limit:
                    break
                passing += 1
            if passing == 0:
                self._break(len(frames[0]))
                return
            receiver.frames_received([memoryview(frame) for frame in frames[:passing]])
            frames = frames[passing:]

    def hear_end(self, error: Exception | None) -> None:
        if self._open:
            self._open = False
            if self._receiver is not None:
                self._receiver.disconnected(error)

    def _break(self, length: int) -> None:
        self._wire.end(self.other, None)
        self.hear_end(
            ProtocolError(
                f"{self._peer} sent a frame of {length} bytes; "
                f"1 to {self.max_frame_bytes} are allowed here"
            )
        )

    def buffered_bytes(self) -> int:
        waiting_s = self._left_at - self._wire.loop.now
        unread_bytes = self.other.unread_bytes
        if waiting_s <= 0.0 and not unread_bytes:
            return 0  # almost always, and asked for each frame
        link = self._wire.faults.link(self.machine, self.other.machine)
        waiting_bytes = int(max(0.0, waiting_s) * 1000.0 * link.bytes_per_ms)
        return waiting_bytes + max(0, unread_bytes - _SOCKET_BYTES)

    async def drain(self) -> None:
        self.process.require_alive()
        while self._open and (buffered := self.buffered_bytes()) > _BUFFER_BYTES:
            link = self._wire.faults.link(self.machine, self.other.machine)
            patience_s = _PATIENCE_S if self.other.unread_bytes else 0.0
            passes_s = (buffered - _BUFFER_BYTES + 1) / (1000.0 * link.bytes_per_ms)
            await asyncio.sleep(max(passes_s, patience_s))

    def close(self) -> None:
        self.process.require_alive()
        if self._open and self._receiver is not None:
            self._open = False
            loop, context = self._wire.loop, self.process.context
            loop.call_soon(self._receiver.disconnected, None, context=context)
            self._wire.end(self.other, None)

    def reset(self) -> None:
        """Both ends hear that it is broken."""
        for end in (self, self.other):
            error = Unavailable(f"the connection to {end.peer} was reset")
            context = end.process.context
            self._wire.loop.call_soon(end.hear_end, error, context=context)

    def abandon(self, error: Exception | None) -> None:
        """The owner is gone (killed, or gave up connecting): only the other end is told."""
        if self._open:
            self._open = False
            self._wire.end(self.other, error)

    @property
    def is_open(self) -> bool:
        return self._open


class SimulatedListener:
    """An address of one process."""

    def __init__(
        self,
        network: SimulatedNetwork,
        address: Address,
        accept: Callable[[], FrameReceiver],
        max_frame_bytes: int,
    ) -> None:
        self.network = network
        self.max_frame_bytes = max_frame_bytes
        self._address = address
        self._accept = accept

    @property
    def address(self) -> Address:
        return self._address

    def close(self) -> None:
        listeners = self.network.wire.listeners
        if listeners.get(self._address) is self:
            del listeners[self._address]

    def welcome(self, connection: SimulatedConnection) -> None:
        """Runs in the listening process."""
        if connection.is_open:
            connection.start(self._accept())


class SimulatedNetwork:
    """The network port of one process."""

    def __init__(self, wire: SimulatedWire, process: SimulatedProcess) -> None:
        self.wire = wire
        self.process = process
        self._listeners: list[SimulatedListener] = []
        self.connections: list[SimulatedConnection] = []
        self._prune_at = 32
        wire.networks.append(self)
        process.on_kill.append(self._killed)

    async def listen(
        self, address: Address, accept: Callable[[], FrameReceiver], max_frame_bytes: int
    ) -> Listener:
        self.process.require_alive()
        address = self.wire.free_address(address)
        if address in self.wire.listeners:
            raise BadConfiguration(
                f"the address {address} is taken by another process: "
                "stop it, or choose another port"
            )
        listener = SimulatedListener(self, address, accept, max_frame_bytes)
        self.wire.listeners[address] = listener
        self._listeners.append(listener)
        return listener

    async def connect(
        self, address: Address, receiver: FrameReceiver, max_frame_bytes: int, timeout_ms: float
    ) -> Connection:
        self.process.require_alive()
        try:
            async with asyncio.timeout(timeout_ms / 1000.0):
                return await self._establish(address, receiver, max_frame_bytes)
        except TimeoutError:
            raise Unavailable(
                f"no connection to {address} within {timeout_ms:.0f} ms: "
                "see whether that machine runs and can be reached"
            ) from None

    async def _establish(
        self, address: Address, receiver: FrameReceiver, max_frame_bytes: int
    ) -> Connection:
        wire, here = self.wire, self.process.machine
        there = self._machine_of(address)
        await self._passes(here, there)
        await asyncio.sleep(wire.delay_s(here, there))
        await self._passes(here, there)
        listener = wire.listeners.get(address)
        if listener is None:
            await self._passes(there, here)
            await asyncio.sleep(wire.delay_s(there, here))
            raise Unavailable(f"nobody listens at {address}: see whether that process runs")
        server = listener.network
        near = SimulatedConnection(wire, self.process, address, max_frame_bytes)
        far = SimulatedConnection(wire, server.process, self.process.name, listener.max_frame_bytes)
        near.other, far.other = far, near
        self._own(near)
        server._own(far)
        back_s = wire.delay_s(there, here)
        far.arrived_at = wire.loop.now + back_s  # nothing overtakes the acceptance
        wire.loop.call_soon(listener.welcome, far, context=server.process.context)
        try:
            await asyncio.sleep(back_s)
            await self._passes(there, here)
        except BaseException:
            near.abandon(None)
            raise
        if not near.is_open:
            raise Unavailable(f"the connection to {address} was reset: see whether it runs")
        near.start(receiver)
        return near

    def _machine_of(self, address: Address) -> str:
        listener = self.wire.listeners.get(address)
        if listener is not None:
            return listener.network.process.machine
        return address.partition(":")[0]

    async def _passes(self, source: str, target: str) -> None:
        """Return if the way is open; else wait for the caller's deadline, as a SYN does."""
        if self.wire.cut(source, target):
            await self.wire.loop.create_future()

    def _own(self, connection: SimulatedConnection) -> None:
        self.connections.append(connection)
        if len(self.connections) > self._prune_at:
            self.connections = [end for end in self.connections if end.is_open]
            self._prune_at = 2 * len(self.connections) + 32

    def _killed(self) -> None:
        self.wire.networks.remove(self)
        for listener in self._listeners:
            listener.close()
        for connection in self.connections:
            connection.abandon(
                Unavailable(f"the connection to {connection.other.peer} was reset: it died")
            )
