"""Changing the members of a group, to the end: Raft §6 as its operator sees it.

A change is a target.  What is still missing on the way there is done next, one step at a time, and
each step is a fact in the log; so whoever asks again, also of another leader, goes on where the
change stands, and asking for what is already so does nothing.
"""

import msgspec

from quorate.base.errors import BadInput, DeadlineExceeded, Fenced
from quorate.raft.core.configuration import Configuration, fault_of
from quorate.raft.group import Group
from quorate.raft.messages import Members
from quorate.runtime.ports import World

LOOK_MS = 20.0
"""Between two looks at how far a change has come."""


async def change_members(
    world: World,
    group: Group,
    members: Members,
    expected: Configuration | None = None,
    *,
    timeout_ms: float,
) -> Configuration:
    """Make ``members`` those of the group; its configuration when that is so.

    ``expected``: only if it stands there, or on the way from there, as long as it lasts.

    Raises ``BadInput`` for what cannot be a group, ``Fenced`` if it is somewhere else than
    expected, ``NotLeader`` (ask the leader to go on), and ``DeadlineExceeded``, with what it waited
    for: the change goes no further by itself, but for a joint configuration, which the leader
    brings to its end.
    """
    target = members.instead_of(group.configuration)
    if (why := fault_of(target)) is not None:
        raise BadInput(f"group {group.name} cannot have these members: {why}")
    end_ms = world.clock.monotonic_ms() + timeout_ms
    while True:
        group.require_leader()
        if expected is not None and group.configuration not in _way(expected, target):
            raise Fenced(
                f"the members of group {group.name} were changed by somebody else meanwhile: look"
                " at them, and ask again if that is still wanted"
            )
        waits_for = group.change(_step(group.configuration, target))
        if waits_for is None and group.configuration == target:
            return target
        if world.clock.monotonic_ms() >= end_ms:
            waits_for = waits_for or "the last step is not committed yet"
            raise DeadlineExceeded(
                f"group {group.name} has not changed its members within {timeout_ms:.0f} ms:"
                f" {waits_for}",
                waits_for=waits_for,
            )
        await world.clock.sleep(LOOK_MS)


def _step(current: Configuration, target: Configuration) -> Configuration:
    """The next configuration on the way: new voters are learners first."""
    new = [voter for voter in target.voters if voter not in current.members]
    if not new:
        return target
    addresses = current.addresses | {voter: target.addresses[voter] for voter in new}
    names = current.names | {v: target.names[v] for v in new if v in target.names}
    learners = (*current.learners, *new)
    return msgspec.structs.replace(
        current, addresses=addresses, learners=learners, names=names, old_voters=()
    )


def _way(start: Configuration, target: Configuration) -> tuple[Configuration, ...]:
    """All that is in force one after the other while ``start`` becomes ``target``."""
    settled = start.after()  # itself, unless it is joint
    first = _step(settled, target)
    return start, settled, first, first.towards(target), target
