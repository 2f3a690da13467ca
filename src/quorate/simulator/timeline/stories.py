"""Stories that can be drawn: each scenario text by its name."""

from pathlib import Path

from quorate.simulator import scenarios
from quorate.simulator.scenarios.interpreter import Scenario, run
from quorate.simulator.timeline.events import Head, Run
from quorate.simulator.timeline.recorder import Recorder


def stories() -> dict[str, Path]:
    """``figure-7`` → its text; whatever text is added there has a timeline, too."""
    folder = Path(scenarios.__file__).parent
    return {path.stem.replace("_", "-"): path for path in sorted(folder.glob("*.txt"))}


def record_story(name: str) -> Run:
    """Tell the story of this name, and keep all that happens in it."""
    text = stories()[name].read_text()
    scenario = Scenario()
    recorder = Recorder(lambda: scenario.moment, scenario.name)
    scenario.watcher = recorder
    run(text, scenario)
    found = recorder.recorded
    nodes = tuple(map(scenario.name, scenario.hosts))
    clients = dict.fromkeys(e.node for e in found if e.node and e.node not in nodes)
    title = text.splitlines()[0].removeprefix("#").strip().rstrip(".")
    command = f"python -m quorate.simulator.timeline {name} -o FILE.html"
    head = Head(
        title=title,
        command=command,
        unit="step",
        nodes=nodes,
        clients=tuple(clients),
        groups=(1,),
    )
    return Run(head=head, events=found)
