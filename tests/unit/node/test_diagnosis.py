"""What the doctor concludes from facts, case by case."""

import pytest

from quorate.base.histogram import Histogram
from quorate.base.ids import Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.kv.core.commands import Statistics
from quorate.node.doctor.diagnosis import diagnose, verdict
from quorate.node.doctor.facts import Facts, Finding, NodeFacts, Severity
from quorate.node.messages import Examination, NodeDescription, NodeEntry
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.settings import Timing
from quorate.raft.messages import GroupStatus

CLUSTER = ClusterId("c" * 32)
GROUP = GroupId(1)
NAMES = ("n1", "n2", "n3")


def door(number: int) -> Address:
    return Address(f"10.0.0.{number}:7400")


def voters(*numbers: int, old: tuple[int, ...] = ()) -> Configuration:
    members = dict.fromkeys((*numbers, *old))
    return Configuration(
        tuple(map(ReplicaId, numbers)),
        {ReplicaId(number): door(number) for number in members},
        (),
        tuple(map(ReplicaId, old)),
        {ReplicaId(number): f"n{number}" for number in members},
    )


def replica(
    number: int,
    role: str = "follower",
    *,
    term: int = 3,
    last: tuple[int, int] = (3, 100),
    digest: int = 7,
    heard: dict[int, int] | None = None,
    match: dict[int, int] | None = None,
    configuration: Configuration | None = None,
    diverged: dict[int, int] | None = None,
) -> GroupStatus:
    """``last``: term and index of the last entry."""
    others = [other for other in (1, 2, 3) if other != number]
    return GroupStatus(
        GROUP,
        ReplicaId(number),
        role,
        term,
        door(1),
        last[1],
        last[1],
        last[1],
        digest,
        configuration=configuration or voters(1, 2, 3),
        match_indexes={ReplicaId(k): v for k, v in (match or {}).items()},
        last_term=last[0],
        heard_ms={ReplicaId(k): v for k, v in (heard or dict.fromkeys(others, 50)).items()},
        diverged={ReplicaId(k): v for k, v in (diverged or {}).items()},
    )


def examination(
    *, free: int = 100 << 30, slow: int = 0, twins: dict[NodeId, tuple[str, str]] | None = None
) -> Examination:
    """``slow``: of 100 syncs took 300 ms."""
    syncs = Histogram.of_durations()
    for number in range(100):
        syncs.observe(300.0 if number < slow else 1.0)
    return Examination(0, 0.0, free, syncs, Timing(), "here", twins or {})


def machine(
    number: int, *replicas: GroupStatus, version: str = "1", cluster: ClusterId = CLUSTER
) -> NodeFacts:
    """One that answers, with these replicas."""
    entries = [NodeEntry(NodeId(n), f"n{n}", door(n)) for n in (1, 2, 3)]
    return NodeFacts(
        NodeId(number),
        f"n{number}",
        door(number),
        description=NodeDescription(
            cluster, NodeId(number), f"n{number}", version, entries, list(replicas), []
        ),
        before=list(replicas),
        examination=examination(),
    )


def silent(number: int) -> NodeFacts:
    return NodeFacts(NodeId(number), f"n{number}", door(number), "nobody listens")


def three() -> Facts:
    """A cluster that is well."""
    leader = replica(1, "leader", match={2: 100, 3: 100})
    return Facts(CLUSTER, [machine(1, leader), machine(2, replica(2)), machine(3, replica(3))])


def only(facts: Facts, kind: str) -> Finding:
    """The one finding, which must be of ``kind``."""
    (finding,) = diagnose(facts)
    assert finding.kind == kind, finding
    return finding


def test_a_cluster_that_is_well_says_how_many_may_fail() -> None:
    finding = only(three(), "well")
    assert (
        finding.severity is Severity.WELL and "any 1 of the machines may fail" in finding.sentence
    )


def test_one_node_down_is_a_risk_with_its_name_and_since_when() -> None:
    facts = three()
    facts.nodes[0].groups[0].heard_ms = {ReplicaId(2): 40, ReplicaId(3): 42_000}
    facts.nodes[1].groups[0].heard_ms = {ReplicaId(1): 40}
    facts.nodes[2] = silent(3)
    finding = only(facts, "voter-missing")
    assert finding.severity is Severity.RISK and finding.since_s == 42
    assert "n3 does not answer" in finding.sentence and "stops if one more" in finding.sentence
    assert "start n3 again" in finding.do and "bootstrap n3" in finding.do_not


def test_how_far_behind_a_silent_node_is_its_leader_knows_of_each_group() -> None:
    leader = replica(1, "leader", last=(3, 5_000), match={2: 5_000, 3: 4_000})
    other = replica(1, "leader", last=(3, 90), match={2: 90, 3: 0})  # never heard since it leads
    other.group = GroupId(2)
    second = replica(2, last=(3, 90))
    second.group = GroupId(2)
    facts = Facts(CLUSTER, [machine(1, leader, other), machine(2, replica(2), second), silent(3)])
    finding = only(facts, "voter-missing")
    assert finding.groups == ("namespace", "jobs")
    assert finding.behind == ("n3 lacks 1,000 entries of namespace, or fewer",)
    assert finding.as_json()["behind"] == [*finding.behind]


def test_a_lost_majority_names_who_is_missing_and_who_has_the_newest_log() -> None:
    mine = replica(1, last=(3, 812), heard={2: 61_000})
    facts = Facts(CLUSTER, [machine(1, mine), silent(2), silent(3)])
    finding = only(facts, "majority-lost")
    assert finding.severity is Severity.STOPPED and finding.since_s == 61
    assert "n2 and n3 do not answer" in finding.sentence
    assert "n1 has the newest log (entry 812 of term 3" in finding.sentence
    assert "start n2 or n3 again" in finding.do and "quorate recover" in finding.do
    assert "wipe" in finding.do_not


def test_the_newest_log_is_of_the_later_term_and_not_the_longer_one() -> None:
    five = voters(1, 2, 3, 4, 5)
    one = replica(1, last=(3, 900), configuration=five)
    two = replica(2, last=(4, 800), configuration=five)
    facts = Facts(CLUSTER, [machine(1, one), machine(2, two), silent(3)])
    assert "n2 has the newest log (entry 800 of term 4" in only(facts, "majority-lost").sentence


def test_what_is_the_same_of_two_groups_is_said_once() -> None:
    facts = Facts(CLUSTER, [machine(1, replica(1)), silent(2), silent(3)])
    other = replica(1)
    other.group = GroupId(2)
    facts.nodes[0].groups.append(other)
    assert only(facts, "majority-lost").groups == ("namespace", "jobs")


def test_nobody_answers() -> None:
    finding = only(Facts(ClusterId(""), [silent(1), silent(2)]), "nobody-answers")
    assert finding.severity is Severity.STOPPED and "nobody listens" in finding.sentence


def test_no_leader_says_who_stands_and_whose_log_is_newer() -> None:
    facts = Facts(
        CLUSTER,
        [
            machine(1, replica(1, "pre_candidate", last=(2, 90))),
            machine(2, replica(2, last=(3, 100))),
            silent(3),
        ],
    )
    finding = only(facts, "no-leader")
    assert finding.severity is Severity.STOPPED
    assert "n1 asks for votes with a log that ends at entry 90 of term 2" in finding.sentence
    assert "n2 has a newer one and refuses" in finding.sentence


def test_no_leader_because_a_link_is_cut_names_the_two() -> None:
    facts = Facts(
        CLUSTER,
        [
            machine(1, replica(1, "pre_candidate", heard={3: 50})),
            machine(2, replica(2, heard={1: 9_000})),
            silent(3),
        ],
    )
    finding = only(facts, "no-leader")
    assert "n1 and n2" in finding.sentence and "mend the network" in finding.do


def test_a_link_that_is_cut_between_leader_and_follower() -> None:
    facts = three()
    facts.nodes[0].groups[0].heard_ms = {ReplicaId(2): 50, ReplicaId(3): 30_000}
    finding = only(facts, "link-cut")
    assert "n3 runs, but its leader n1 does not hear it" in finding.sentence


@pytest.mark.parametrize(("lag_before", "words"), [(9_000, "catches up"), (5_000, "does not")])
def test_a_lagging_replica_and_whether_it_catches_up(lag_before: int, words: str) -> None:
    facts = three()
    last = (3, 10_000)
    facts.nodes[0] = machine(1, replica(1, "leader", last=last, match={2: 10_000, 3: 5_000}))
    facts.nodes[0].before = [
        replica(1, "leader", last=last, match={2: 10_000, 3: 10_000 - lag_before})
    ]
    finding = only(facts, "lagging")
    assert "n3 lacks 5,000 entries" in finding.sentence and words in finding.sentence


def test_a_joint_change_that_does_not_end() -> None:
    joint = voters(1, 4, 5, old=(1, 2, 3))
    leader = replica(1, "leader", configuration=joint, heard={2: 10, 3: 10, 5: 10})
    nodes = [machine(n, replica(n, configuration=joint)) for n in (2, 3)]
    facts = Facts(
        CLUSTER, [machine(1, leader), *nodes, machine(5, replica(5, configuration=joint))]
    )
    finding = next(f for f in diagnose(facts) if f.kind == "change-unfinished")
    assert "from n1, n2 and n3 to n1, n4 and n5" in finding.sentence and "n4" in finding.sentence


def test_a_replica_whose_digest_differs_from_the_others() -> None:
    facts = three()
    facts.nodes[2].groups[0].digest = 8
    finding = only(facts, "diverged")
    assert "the state of n3 differs" in finding.sentence
    assert "It still answers" in finding.sentence and "It is in quarantine" not in finding.sentence


def test_a_replica_in_quarantine_is_known_to_its_leader() -> None:
    facts = three()
    facts.nodes[0].groups[0].diverged = {ReplicaId(3): 512}
    facts.nodes[2] = silent(3)
    finding = next(f for f in diagnose(facts) if f.kind == "diverged")
    assert "at entry 512" in finding.sentence and "quarantine" in finding.do_not
    assert "It is in quarantine" in finding.sentence


def test_a_replica_that_is_rebuilt_is_not_called_missing() -> None:
    facts = three()
    now = voters(1, 2, 3)
    new = ReplicaId(70_000)
    now = Configuration(
        now.voters, now.addresses | {new: door(3)}, (new,), names=now.names | {new: "n3"}
    )
    for node in facts.nodes:
        node.groups[0].configuration = now
    facts.nodes[2].groups[0].replica = new
    facts.nodes[0].groups[0].heard_ms = {ReplicaId(2): 40, new: 40}
    finding = only(facts, "rebuilding")
    assert "the replica of n3 was damaged and is being rebuilt" in finding.sentence


def test_another_clusters_machine_where_one_of_ours_belongs() -> None:
    facts = three()
    facts.nodes[2] = machine(3, replica(3, "leader", term=9), cluster=ClusterId("d" * 32))
    kinds = {finding.kind: finding.sentence for finding in diagnose(facts)}
    assert "d" * 32 in kinds["another-cluster"]
    assert "n3 does not answer" in kinds["voter-missing"]  # what it says is not of this group


def test_swapped_disks_and_one_identity_at_two_addresses() -> None:
    facts = three()
    facts.nodes[2] = machine(2, replica(2))
    facts.nodes[2].name, facts.nodes[2].rpc = "n3", door(3)
    kinds = {finding.kind for finding in diagnose(facts)}
    assert {"another-node", "cloned-disk"} <= kinds


def test_two_processes_in_the_name_of_one_node() -> None:
    facts = three()
    facts.nodes[0].examination = examination(twins={NodeId(2): ("10.0.0.2 a", "10.0.0.9 b\x1b[2J")})
    finding = only(facts, "cloned-disk")
    assert "name of n2: 10.0.0.2 a and 10.0.0.9 b?[2J" in finding.sentence
    assert "stop both" in finding.do


@pytest.mark.parametrize(
    ("free", "kind"), [(1 << 20, "disk-full"), (500 << 20, "disk-nearly-full")]
)
def test_a_disk_that_is_full_or_nearly(free: int, kind: str) -> None:
    facts = three()
    facts.nodes[1].examination = examination(free=free)
    assert "the disk of n2" in only(facts, kind).sentence


def test_a_slow_disk_is_one_whose_syncs_take_longer_than_a_heartbeat() -> None:
    facts = three()
    facts.nodes[1].examination = examination(slow=20)
    assert "20 of 100 syncs" in only(facts, "slow-disk").sentence
    facts.nodes[1].examination = examination(slow=2)
    only(facts, "well")


@pytest.mark.parametrize(("wrong_ms", "words"), [(-90_000, "behind"), (90_000, "ahead of")])
def test_a_wrong_clock_and_what_it_endangers(wrong_ms: float, words: str) -> None:
    facts = three()
    facts.nodes[2].clock_ms = wrong_ms
    finding = only(facts, "wrong-clock")
    assert f"n3 is 90.0 s {words}" in finding.sentence and "log time" in finding.sentence


def test_a_clock_is_not_wrong_by_less_than_the_measurement() -> None:
    facts = three()
    facts.nodes[2].clock_ms, facts.nodes[2].clock_error_ms = 2_000, 1_500
    only(facts, "well")


def test_different_releases() -> None:
    facts = three()
    facts.nodes[2] = machine(3, replica(3), version="2")
    assert "n1 and n2 1 and n3 2" in only(facts, "releases-differ").sentence


def test_the_only_voter_is_a_risk() -> None:
    mine = replica(1, "leader", configuration=voters(1), heard={})
    assert "only voter" in only(Facts(CLUSTER, [machine(1, mine)]), "no-spare").sentence


def test_two_voters_are_a_risk_as_well() -> None:
    two = voters(1, 2)
    leader = replica(1, "leader", configuration=two, heard={2: 10})
    facts = Facts(CLUSTER, [machine(1, leader), machine(2, replica(2, configuration=two))])
    assert "n1 and n2 are its only voters" in only(facts, "no-spare").sentence


def test_the_worst_comes_first_and_is_the_verdict() -> None:
    facts = Facts(CLUSTER, [machine(1, replica(1)), silent(2), silent(3)])
    facts.nodes[0].examination = examination(free=1)
    findings = diagnose(facts)
    assert [finding.severity for finding in findings] == [Severity.STOPPED, Severity.RISK]
    assert verdict(findings) == 2


def test_a_store_that_takes_no_more_is_a_risk_and_says_what_to_do() -> None:
    def with_store(size: int, max_bytes: int, restricted: str = "") -> Facts:
        facts = three()
        for node in facts.nodes:
            if node.description is not None:
                node.description.store = Statistics(9, 1, size, 0, 0, max_bytes, restricted)
        return facts

    full = only(with_store(999, 1000), "store-full")
    assert "is full: 999 bytes of 1.0 kB" in full.sentence and "kv.max_bytes" in full.do
    assert "nearly full" in only(with_store(950, 1000), "store-full").sentence
    restricted = only(with_store(5, 0, "too little space is left on n2"), "store-full")
    assert "too little space is left on n2" in restricted.sentence
    for facts in (with_store(900, 1000), with_store(10**12, 0)):
        only(facts, "well")
