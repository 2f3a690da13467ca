"""``quorate recover``: going on after a majority is lost for ever; offline, and in two steps.

Without ``--execute`` nothing is changed: it says what would be done, what may be lost, and the code
that confirms exactly this (``node/recovery.py``).
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from quorate.base.errors import BadConfiguration, BadInput
from quorate.base.ids import GROUP_NAMES
from quorate.cli.output import JsonOption, print_json, print_line, print_note
from quorate.cli.up import ConfigFile
from quorate.node.config import NodeConfig, load
from quorate.node.identity import NodeIdentity, require_identity
from quorate.node.lock import FileLock
from quorate.node.recovery import GroupPlan, Plan, execute, make_plan, report_of, sentences
from quorate.node.survivor import LOCKS, Survivor, read_survivor, runs
from quorate.runtime.real.trace import RealTrace
from quorate.runtime.real.world import close_world, real_world, run

NEVER = (
    "The lost machines must never be started again with their old disks: they may take themselves"
    " for the majority, and would answer from another history."
)


def recover(
    config: ConfigFile,
    survivor: Annotated[
        list[Path] | None,
        typer.Option("--survivor", metavar="REPORT", help="Of another survivor; may be repeated."),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Print what this disk holds, and nothing else.")
    ] = False,
    confirmed: Annotated[
        str, typer.Option("--execute", metavar="CODE", help="Do what the run without it said.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Go on without a majority that is lost for ever; without --execute, say what may be lost."""
    settings = load(config)
    identity = require_identity(settings, config)
    if runs(settings):
        raise BadConfiguration(
            f"{settings.name} runs: recovery is for nodes that do not; stop it, and make sure that"
            " the lost ones do not come back."
        )
    here = read_survivor(settings, identity, print_note)
    if report:
        print_line(msgspec.json.encode(here).decode())
        return
    plan = make_plan([here, *map(_read, survivor or ())])
    again = f"quorate recover --config {config}" + "".join(
        f" --survivor {s}" for s in survivor or ()
    )
    if not confirmed:
        _show(plan, here, again, as_json)
    elif confirmed != plan.code:
        raise BadInput(
            f"{confirmed!r} is not the code of this recovery: what it rests on has changed, or it"
            f" was mistyped.  Run '{again}' and read again what may be lost; nothing was changed."
        )
    else:
        _do(settings, identity, plan, config, as_json)


def _read(path: Path) -> Survivor:
    try:
        return report_of(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


def _show(plan: Plan, here: Survivor, again: str, as_json: bool) -> None:
    if as_json:
        print_json({"code": plan.code, "executed": False, **_as_json(plan)})
        return
    names = ", ".join(survivor.name for survivor in plan.survivors)
    lost = ", ".join(dict.fromkeys(name for group in plan.groups for name in group.lost_names))
    print_line(f"Nothing was changed.  The survivors are {names}; given up as lost: {lost}.")
    for sentence in sentences(plan):
        print_line("")
        print_line(sentence)
    print_line("")
    print_line(
        f"If one of {lost} still has its disk, do not go on: start it, or run 'quorate recover"
        " --report' there and give its report here with --survivor; then less is lost, or nothing."
    )
    print_line(NEVER)
    others = [survivor.name for survivor in plan.survivors if survivor.node != here.node]
    if others:
        print_line(
            f"The same command, with the reports of the other survivors, belongs on"
            f" {', '.join(others)}; their data are kept.  Then start all of them."
        )
    print_line(f"To go on with exactly this:  {again} --execute {plan.code}")


def _do(
    config: NodeConfig, identity: NodeIdentity, plan: Plan, config_file: Path, as_json: bool
) -> None:
    done: list[GroupPlan] = []
    locks = [FileLock(config.data_path / name, 0) for name in LOCKS]
    try:
        with (config.data_path / "raft.log").open("a", encoding="utf-8") as log:
            trace = RealTrace(log, "recover", events=True)

            async def main() -> None:
                world = real_world(config.disk_path("raft"), trace=trace)
                try:
                    done.extend(await execute(world, config, identity, plan))
                finally:
                    await close_world(world)

            run(main)
    finally:
        for lock in locks:
            lock.release()
    if as_json:
        print_json({"code": plan.code, "executed": True, **_as_json(plan)})
        return
    for group in done:
        print_line(
            f"{GROUP_NAMES[group.group]}: entry {group.newest.last_index + 1} of term {group.term}"
            f" makes {', '.join(group.configuration.names.values())} its only"
            f" {'voter' if len(group.configuration.voters) == 1 else 'voters'}."
        )
    if not done:
        print_line("This node has nothing to write: another survivor has the newest logs.")
    print_line(f"Now start this node:  quorate node --config {config_file}")
    for survivor in plan.survivors:
        if survivor.node != identity.node:
            verb = (
                "run this command there, too, and then start it"
                if plan.writes(survivor.node)
                else "start it"
            )
            print_line(f"On {survivor.name}: {verb}; its data are kept.")
    print_line(NEVER)
    print_line(
        "Wipe their data directories, and let each join as a new machine: 'quorate join' there,"
        " then 'quorate doctor' to see how many more may fail."
    )
    if len(plan.survivors) == 1:
        print_line(
            "Until a second machine has joined, files can be read and no new one stored: each is"
            " kept on two machines or more."
        )


def _as_json(plan: Plan) -> dict[str, Any]:
    return {
        "survivors": [survivor.name for survivor in plan.survivors],
        "groups": [
            {
                "group": GROUP_NAMES[group.group],
                "writer": plan.name(group.writer),
                "last_index": group.newest.last_index,
                "last_term": group.newest.last_term,
                "committed_index": group.newest.committed_index,
                "last_change_ms": group.newest.time_ms or None,
                "new_term": group.term,
                "lost": list(group.lost_names),
                "may_lose": not group.complete,
            }
            for group in plan.groups
        ],
    }
