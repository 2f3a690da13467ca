"""The network of the labs, and the count of what passes over it.

The labs' servers call each other: a request that is answered or lost.  Ours send one-way messages,
and answers are messages, too; all that one node's replicas say to another's in a turn is one
notice, one frame.  So that bounds on calls mean the same here:

* A *request* is a message that a lab would have made a call for: a request for a vote or a
  pre-vote, an append (heartbeats are appends), a snapshot on offer.  Each counts, also where
  several share a frame, and when it leaves, whether or not it arrives; the labs count what a
  server got.  The labs' bounds on calls are held against this number.
* An *answer* is its reply (the message types whose name ends in ``Reply``).  Labs do not count
  these; the table shows them.
* *Bytes* are those of the encoded notices, requests and answers; the labs count requests.

``unreliable``: the labs delay a request by 0 to 26 ms, lose one of ten, and one of ten replies.
Here each frame is late by 0 to 26 ms on its own (so frames overtake each other) and one of ten is
lost, whatever it is: requests, answers (which the labs do not delay), the handshakes of
connections (which the labs do not have) and the pieces of snapshots.

``long_reordering``: two of three answers are late by 200 + rand(1 + rand(2000)) ms more.
"""

import asyncio
from collections.abc import Callable

from quorate.base.codec import Notice, encode
from quorate.base.ids import Address, GroupId
from quorate.base.machine import StateMachine
from quorate.raft.core.events import Effects, Event, Propose
from quorate.raft.core.messages import AppendReply
from quorate.raft.core.replica import Replica
from quorate.raft.core.settings import Limits
from quorate.raft.messages import Envelope, RaftMessages
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.checkers.safety import SafetyChecker
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.lab.results import Traffic
from quorate.simulator.lab.tester import Started


class LabChecker(SafetyChecker):
    """The safety checker, which also counts, and sees what is proposed where."""

    def __init__(self) -> None:
        super().__init__()
        self.traffic = Traffic()
        self.proposals: dict[bytes, asyncio.Future[Started | None]] = {}
        """Encoded commands whose entry somebody waits for."""

    def sent(self, address: Address, notice: RaftMessages) -> None:
        super().sent(address, notice)
        answers = sum(map(_is_answer, notice.envelopes))
        self.traffic.answers += answers
        self.traffic.requests += len(notice.envelopes) - answers
        self.traffic.refusals += sum(map(_is_refusal, notice.envelopes))
        self.traffic.bytes += len(encode(notice))

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None:
        super().stepped(group, replica, event, effects)
        if isinstance(event, Propose) and effects.entries:
            for command in list(self.proposals):
                for entry in effects.entries:
                    if command in entry.data:
                        self.proposals.pop(command).set_result(Started(entry.index, entry.term))
                        break


def _is_answer(envelope: Envelope) -> bool:
    return type(envelope.message).__name__.endswith("Reply")


def _is_refusal(envelope: Envelope) -> bool:
    return isinstance(envelope.message, AppendReply) and not envelope.message.success


class LabCluster(RaftCluster):
    """The cluster, with replicas whose answers may be late."""

    def __init__(
        self,
        simulation: Simulation,
        servers: int,
        machine: Callable[[], StateMachine],
        limits: Limits | None,
    ) -> None:
        super().__init__(simulation, servers, machine=machine, limits=limits)
        self.long_reordering = False
        self.random = simulation.stream("answers")

    def power_loss(self, name: str) -> None:
        super().power_loss(name)
        self.raft_nodes.pop(name, None)

    def _raft_rpc(self, world: World, identity: Identity) -> RpcClient:
        return _LateAnswers(world, identity, self)


class _LateAnswers(RpcClient):
    def __init__(self, world: World, identity: Identity, cluster: LabCluster) -> None:
        super().__init__(world, identity)
        self._clock = world.clock
        self._cluster = cluster

    def notify(self, address: Address, notice: Notice) -> None:
        draw = self._cluster.random.randrange
        answers = isinstance(notice, RaftMessages) and all(map(_is_answer, notice.envelopes))
        if self._cluster.long_reordering and answers and draw(3) < 2:
            late_ms = 200 + draw(1 + draw(2000))
            self._clock.call_later(late_ms, super().notify, address, notice)
        else:
            super().notify(address, notice)
