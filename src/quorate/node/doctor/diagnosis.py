"""From facts to findings: pure, so that each case is a test of a few lines."""

from collections.abc import Sequence

from quorate.base.ids import GROUP_NAMES
from quorate.node.doctor.facts import Facts, Finding, Severity
from quorate.node.doctor.groups import of_group
from quorate.node.doctor.machines import of_machines


def diagnose(facts: Facts) -> list[Finding]:
    """All there is to say, the worst first; at least one finding."""
    found = list(facts.here)
    found += of_machines(facts)
    groups = sorted({status.group for node in facts.nodes for status in node.groups})
    for look in map(facts.look, groups):
        if look.seen:
            found += of_group(facts, look)
    merged = _merged(found)
    return sorted(merged, key=lambda finding: -finding.severity) or [_well(facts)]


def verdict(findings: Sequence[Finding]) -> Severity:
    """Of the whole cluster."""
    return max(finding.severity for finding in findings)


def _merged(found: Sequence[Finding]) -> list[Finding]:
    """What is the same of several groups is said once."""
    merged: dict[tuple[str, str], Finding] = {}
    for finding in found:
        key = (finding.kind, finding.sentence)
        same = merged.setdefault(key, finding)
        if same is not finding:
            ages = [age for age in (same.since_s, finding.since_s) if age is not None]
            groups = (*same.groups, *finding.groups)
            merged[key] = same._replace(
                groups=groups,
                since_s=max(ages, default=None),
                behind=(*same.behind, *finding.behind),
            )
    return list(merged.values())


def _well(facts: Facts) -> Finding:
    voters = [
        len(configuration.voters)
        for group in GROUP_NAMES
        if (look := facts.look(group)).seen and (configuration := look.configuration) is not None
    ]
    spare = (min(voters, default=1) - 1) // 2
    return Finding(
        Severity.WELL,
        "well",
        f"All {len(facts.nodes)} nodes answer, each group has its leader, and any {spare} of the"
        " machines may fail.",
    )
