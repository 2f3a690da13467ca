"""A majority of real nodes is lost with its disks; the one that is left goes on."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
from pathlib import Path

from local_nodes import COMMAND, PATIENCE_SECONDS, quorate, up

from quorate.library.local import free_port


def test_from_a_lost_majority_the_survivor_goes_on_with_all_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    port = free_port()
    text = tmp_path / "text"
    text.write_text("nothing is lost\n")
    config = str(tmp_path / "cluster" / "n1" / "node.toml")
    with up(tmp_path / "cluster", "--port", str(port)) as cluster:
        assert quorate("fs", "put", str(text), "/before", port=port).returncode == 0
        for node in cluster.ready["nodes"][1:]:
            os.kill(node["pid"], signal.SIGKILL)
        said = quorate("doctor", port=port)
        assert said.returncode == 2, said.stdout + said.stderr
        assert "n2 and n3 do not answer" in said.stdout and "quorate recover" in said.stdout
        cluster.stop()
    for name in ("n2", "n3"):
        shutil.rmtree(tmp_path / "cluster" / name / "data")

    plan = quorate("recover", "--config", config)
    match = re.search(r"--execute (\w+)", plan.stdout)
    assert match is not None and "What may be lost: " in plan.stdout
    assert quorate("recover", "--config", config, "--execute", match[1]).returncode == 0
    survivor = subprocess.Popen(
        [*COMMAND, "node", "--config", config, "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert survivor.stdout is not None
        assert select.select([survivor.stdout], [], [], PATIENCE_SECONDS)[0]
        assert quorate("fs", "cat", "/before", port=port).stdout == text.read_text()
        assert quorate("fs", "mkdir", "/after", port=port).returncode == 0
        alone = json.loads(quorate("doctor", "--json", port=port).stdout)
        assert [finding["kind"] for finding in alone["findings"]] == ["no-spare"]
    finally:
        survivor.kill()
        survivor.communicate()
