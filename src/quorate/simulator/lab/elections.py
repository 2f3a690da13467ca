"""Lab 2A: leader election."""

from quorate.simulator.lab.registry import lab_test
from quorate.simulator.lab.tester import ELECTION_MS, Lab


@lab_test("2A", servers=3)
async def initial_election(lab: Lab) -> None:
    """One leader, one term, and neither changes while nothing fails."""
    leader = await lab.one_leader()
    await lab.sleep(50)  # followers learn of the election
    term = lab.same_term()
    lab.demand(term >= 1, "the first leader has a term of at least 1")
    await lab.sleep(2 * ELECTION_MS)
    # The labs only warn of a change; here it is an error.
    lab.exactly("changes of term in 2 quiet seconds", lab.same_term() - term, 0)
    lab.demand(await lab.one_leader() == leader, "a leader leads while nothing fails")


@lab_test("2A", servers=3)
async def re_election(lab: Lab) -> None:
    """A leader that is cut off is replaced, and does no harm when it is back; no quorum, no
    leader."""
    first = await lab.one_leader()
    lab.disconnect(first)
    await lab.one_leader()
    lab.connect(first)
    second = await lab.one_leader()

    lab.disconnect(second, lab.after(second, 1))
    await lab.sleep(2 * ELECTION_MS)
    alone = sum(1 for server in lab.servers if lab.is_connected(server) and lab.leads(server))
    lab.exactly("leaders without a quorum, after 2 s", alone, 0)
    # Beyond the labs: also those that were cut off know by now that they lead nobody.
    lab.tighter("leaders anywhere, after 2 s", sum(map(lab.leads, lab.servers)), 0)

    lab.connect(lab.after(second, 1))
    await lab.one_leader()
    lab.connect(second)
    await lab.one_leader()


@lab_test("2A", servers=7)
async def many_elections(lab: Lab) -> None:
    """Nine rounds with three of seven cut off, drawn anew (twice the same one, sometimes)."""
    await lab.one_leader()
    rounds = 0
    for _ in range(9):
        away = [lab.random.randrange(7) for _ in range(3)]
        lab.disconnect(*away)
        await lab.one_leader()  # the present one, or another
        rounds += 1
        lab.connect(*away)
    await lab.one_leader()
    lab.exactly("rounds with one leader", rounds, 9)
