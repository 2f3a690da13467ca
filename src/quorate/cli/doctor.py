"""``quorate doctor``: what is wrong with a cluster, in sentences; it changes nothing.

The exit code is the verdict: 0 well, 1 at risk, 2 stopped.  So whatever else goes wrong here, wrong
usage included, ends with a code of its own (``NotJudged``).
"""

from pathlib import Path
from typing import Annotated

import typer

from quorate.base.errors import BadConfiguration, BadInput, NotJudged, QuorateError
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.cli.connection import ClusterOption, TlsCa, TlsCert, TlsKey, run_in_world
from quorate.cli.output import JsonOption, print_json, print_line
from quorate.library.connection import seeds_of
from quorate.library.connection import tls_of as tls_given
from quorate.node.config import NodeConfig, load
from quorate.node.doctor.asking import ask_all
from quorate.node.doctor.diagnosis import diagnose, verdict
from quorate.node.doctor.facts import Facts, Finding
from quorate.node.doctor.local import look_here
from quorate.node.known import known_in
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Look at this machine's disk, too."),
    ] = None,
    as_json: JsonOption = False,
    cluster: ClusterOption = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Say what is wrong with a cluster: well (0), at risk (1) or stopped (2)."""
    found: list[Facts] = []
    try:
        settings = load(config) if config is not None else None
        known = _known(settings)
        seeds = [] if settings is not None and not cluster else seeds_of(cluster)
        tls = tls_given(tls_ca, tls_cert, tls_key) or (settings.tls_paths if settings else None)

        async def main(world: World) -> None:
            rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
            try:
                found.append(await ask_all(world, rpc, seeds, known))
            finally:
                await rpc.close()

        run_in_world(main, tls)
    except (BadConfiguration, BadInput) as error:
        raise NotJudged(error.message) from error
    (facts,) = found
    if settings is not None and config is not None:
        facts.here = _here(settings, config)
    findings = diagnose(facts)
    if as_json:
        print_json(_as_json(facts, findings))
    else:
        _show(facts, findings)
    raise typer.Exit(int(verdict(findings)))


def _known(config: NodeConfig | None) -> list[tuple[str, Address]]:
    """The machines that the configuration names, and those that its machine knew last."""
    if config is None:
        return []
    named = [(node.name, Address(node.rpc)) for node in config.nodes]
    known = [(entry.name, entry.rpc) for entry in known_in(config.data_path).machines]
    return list(dict.fromkeys((*named, *known)))


def _here(config: NodeConfig, config_file: Path) -> list[Finding]:
    try:
        return look_here(config, config_file)
    except (QuorateError, OSError) as error:
        raise NotJudged(f"{config.data_dir} cannot be read: {error}") from error


def _as_json(facts: Facts, findings: list[Finding]) -> dict[str, object]:
    return {
        "cluster": facts.cluster or None,
        "verdict": verdict(findings).name.lower(),
        "findings": [finding.as_json() for finding in findings],
        "nodes": [
            {
                "name": node.name,
                "rpc": node.rpc,
                "answers": node.description is not None,
                "why_not": node.why_not or None,
                "clock_ms": round(node.clock_ms, 1) if node.examination is not None else None,
            }
            for node in facts.nodes
        ],
    }


def _show(facts: Facts, findings: list[Finding]) -> None:
    silent = [node for node in facts.nodes if node.description is None]
    print_line(
        f"{verdict(findings).name}: {len(facts.nodes) - len(silent)} of {len(facts.nodes)} nodes"
        " answer"
    )
    said = set()
    for finding in findings:
        print_line("")
        about = f"{', '.join(finding.groups)}: " if finding.groups else ""
        since = f"  (For {_age(finding.since_s)}.)" if finding.since_s is not None else ""
        behind = f"  ({'; '.join(finding.behind)}.)" if finding.behind else ""
        print_line(f"[{finding.severity.name.lower()}] {about}{finding.sentence}{since}{behind}")
        for head, words in (("Safe to do next", finding.do), ("Do not", finding.do_not)):
            if words:
                print_line(f"  {head}: {'as above.' if words in said else words}")
                said.add(words)


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours"
