"""``quorate torture`` on real processes: an honest store passes, a liar does not, nothing stays."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from local_nodes import COMMAND, PATIENCE_SECONDS, is_running, quorate

from quorate.linearizability.history import Verdict
from quorate.linearizability.models import MODELS
from quorate.simulator.timeline.events import Event
from quorate.torture import disks
from quorate.torture.hosts import Namespaces, no_namespaces
from quorate.torture.kv import KvTarget
from quorate.torture.registers import RegistersTarget
from quorate.torture.report import Report
from quorate.torture.run import Settings, torture
from quorate.torture.system import Mark, mount_folder, remove_leftovers
from quorate.torture.target import Target

TESTS = Path(__file__).resolve().parents[1]


def tortured(
    folder: Path, target: Target, kinds: Sequence[str], seconds: float, seed: int
) -> Report:
    page = folder / "timeline.html"
    settings = Settings(seconds / 60, 3, 6, seed, "transport", kinds, folder, page)
    return torture(settings, target, lambda line: None)


def caught(folder: Path, liar: Target) -> Report:
    """The first of a few short runs that finds the liar out: on a busy machine a kill may meet
    nothing that was acknowledged and is not yet in a log.  With the first seed every disk is slow
    from the beginning, so that what was acknowledged is long on its way."""
    for seed in (342, 343, 344, 345, 346):
        report = tortured(folder / str(seed), liar, ("kill", "slow-disk"), 2.5, seed)
        if report.verdict is Verdict.ILLEGAL:
            break
    assert report.verdict is Verdict.ILLEGAL and report.exit_code == 1, report.lines()
    assert report.verdicts["kv"].startswith("Illegal") or report.findings
    assert report.verdicts["register"] == "Ok"
    return report


def events_of(folder: Path) -> list[Event]:
    """What the page of the run holds."""
    text = (folder / "timeline.html").read_text()
    [run] = re.findall(r'<script type="application/json" id="run">(.*?)</script>', text, re.S)
    return msgspec.convert(json.loads(run)["events"], list[Event])


def test_an_honest_store_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "missing", lambda *programs: "as on a machine without root")
    kinds = ("kill", "stop", "cut-one", "full-disk")
    report = tortured(tmp_path, RegistersTarget(), kinds, 4, seed=78)
    assert report.verdict is Verdict.OK, report.lines()
    assert set(report.faults) == set(kinds)
    assert report.out_of_space and "limit" in report.disks and "without root" in report.disks
    assert report.ok > 100 and "our own transport" in report.partitions
    [check] = [line for line in report.checks() if "kv" in line]
    assert quorate(*check.split()[1:]).returncode == 0
    events = events_of(tmp_path)
    assert len([e for e in events if e.kind == "fault"]) == sum(report.faults.values())
    leaders = [(e.node, e.term) for e in events if e.kind == "role" and " leader " in e.text]
    assert leaders and len({term for _, term in leaders}) == len(leaders)
    arrived = {e.arrow for e in events if e.kind == "delivered"} - {0}
    assert arrived and arrived <= {e.arrow for e in events if e.kind == "sent"}
    ended = [e for e in events if e.kind == "returned"]
    assert {event.node for event in ended} == {"changes", "reads"}
    assert sum(int(e.text.split()[0]) for e in ended if " ok" in e.text) == report.ok
    assert not any(event.kind == "broken" for event in events)


def test_a_store_that_acknowledges_before_its_log_does_is_caught(tmp_path: Path) -> None:
    report = caught(tmp_path, RegistersTarget((sys.executable, "-P", str(TESTS / "lying_node.py"))))
    assert "broken" in {event.kind for event in events_of(Path(report.folder))}


def test_what_plain_redis_clients_see_of_an_honest_store_is_linearizable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "missing", lambda *programs: "as on a machine without root")
    kinds = ("kill", "stop", "cut-one", "clock-jump")
    report = tortured(tmp_path, KvTarget(), kinds, 4, seed=78)
    assert report.verdict is Verdict.OK, report.lines()
    assert set(report.faults) == set(kinds) and report.target == "kv"
    assert report.ok > 100 and report.info
    history = {name: (tmp_path / f"{name}.jsonl").read_text() for name in MODELS}
    for name, f in (("register", "cas"), ("kv", "append"), ("lock", "acquire")):
        assert re.search(rf'"type": "ok", "f": "{f}"', history[name])
    events = events_of(tmp_path)
    leaders = [(e.node, e.term) for e in events if e.kind == "role" and " leader " in e.text]
    assert leaders and len({term for _, term in leaders}) == len(leaders)


def test_a_redis_gateway_that_acknowledges_before_the_log_does_is_caught(tmp_path: Path) -> None:
    caught(tmp_path, KvTarget((sys.executable, str(TESTS / "lying_kv_node.py"))))


@contextmanager
def begun(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A long run whose first fault has begun."""
    process = subprocess.Popen(
        [*COMMAND, "torture", "--minutes", "5", "--seed", "1", "--dir", str(folder)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("1 "):
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def nodes_of(pid: int) -> list[int]:
    """The nodes among them; a command of the system may be another."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [p for p in found if b"torture.node" in Path(f"/proc/{p}/cmdline").read_bytes()]


def left_of(mark: str) -> list[str]:
    """Mounts, disks and namespaces that bear ``mark``."""
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if mark in line]
    found += [str(path) for path in Path("/run/netns").glob(f"{mark}n*")]
    found += [str(path) for path in Path("/sys/class/net").glob(f"{mark}*")]
    return found + [str(mount_folder(mark))] * mount_folder(mark).exists()


def test_ctrl_c_leaves_histories_and_nothing_else(tmp_path: Path) -> None:
    with begun(tmp_path / "kept") as process:
        nodes = nodes_of(process.pid)
        assert len(nodes) == 3
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 130, errors
        assert not any(map(is_running, nodes))
        assert left_of(f"qt{process.pid}") == []
        assert (tmp_path / "kept" / "register.jsonl").stat().st_size > 0


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with begun(tmp_path / "killed") as process:
        nodes = nodes_of(process.pid)
        assert len(nodes) == 3
        process.kill()
        process.wait(timeout=PATIENCE_SECONDS)
    for node in nodes:
        while is_running(node):  # they die with their parent: a moment
            os.sched_yield()
    assert f"qt{process.pid}" in remove_leftovers()
    assert left_of(f"qt{process.pid}") == []
    assert remove_leftovers() == []


def reaches(hosts: Namespaces, sender: int, receiver: int) -> bool:
    """Whether a datagram gets through."""
    host = hosts.addresses[receiver - 1].rpartition(":")[0]
    listen = f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('{host}', 9));"
    listen += "s.settimeout(0.5); print(flush=True); print(s.recv(9).decode())"
    send = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'hello', ('%s', 9))"
    listener = subprocess.Popen(
        [*hosts.prefix(receiver), sys.executable, "-S", "-c", listen],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert listener.stdout is not None
    listener.stdout.readline()
    subprocess.run([*hosts.prefix(sender), sys.executable, "-S", "-c", send % host], check=True)
    heard, _ = listener.communicate(timeout=PATIENCE_SECONDS)
    return heard == "hello\n"


@pytest.mark.skipif(no_namespaces() != "", reason=no_namespaces())
def test_a_cut_between_namespaces_is_one_way_silent_and_can_be_healed(tmp_path: Path) -> None:
    mark = Mark()
    try:
        hosts = Namespaces(mark.name, 2, tmp_path)
        assert reaches(hosts, 1, 2)
        hosts.cut(frozenset({(1, 2)}))
        assert not reaches(hosts, 1, 2)
        assert reaches(hosts, 2, 1)
        hosts.cut(frozenset())
        assert reaches(hosts, 1, 2)
    finally:
        mark.release()
    assert left_of(mark.name) == []
