"""Lab 2A: leader election."""

from labs.harness import ELECTION_MS, Lab, lab_test


@lab_test(servers=3)
async def test_initial_election(lab: Lab) -> None:
    """One leader, one term, and neither changes while nothing fails."""
    leader = await lab.one_leader()
    await lab.sleep(50)  # followers learn of the election
    term = lab.same_term()
    assert term >= 1
    await lab.sleep(2 * ELECTION_MS)
    # The labs only warn of a change; here it is an error.
    lab.exactly("changes of term in 2 quiet seconds", lab.same_term() - term, 0)
    assert await lab.one_leader() == leader


@lab_test(servers=3)
async def test_re_election(lab: Lab) -> None:
    """A leader that is cut off is replaced, and does no harm when it is back; no quorum, no
    leader."""
    first = await lab.one_leader()
    lab.disconnect(first)
    await lab.one_leader()
    lab.connect(first)
    second = await lab.one_leader()

    lab.disconnect(second, lab.after(second, 1))
    await lab.sleep(2 * ELECTION_MS)
    # Beyond the labs: also the one that was cut off knows by now that it leads nobody.
    lab.exactly("leaders without a quorum, after 2 s", sum(map(lab.leads, lab.servers)), 0)

    lab.connect(lab.after(second, 1))
    await lab.one_leader()
    lab.connect(second)
    await lab.one_leader()


@lab_test(servers=7)
async def test_many_elections(lab: Lab) -> None:
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
