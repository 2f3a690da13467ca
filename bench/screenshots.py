"""Pictures of timelines, taken in a real Chromium: ``python bench/screenshots.py [NAME...]``.

Each opens a page as a file, and chooses the event that its story is about.
"""

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from quorate.simulator.lab.command import TESTS, load_core, run_tests
from quorate.simulator.timeline.drawing import record
from quorate.simulator.timeline.events import Run
from quorate.simulator.timeline.page import write_page

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH = 1280
TIMEOUT_MS = 10_000


class Picture(NamedTuple):
    height: int
    search: str
    hit: int
    """Which of the events that are found is chosen."""
    zoom: str
    """A key; empty: as it opens."""


PICTURES = {
    "figure-7": Picture(900, "S1 is leader in term 8", 1, "0"),
    "figure-8": Picture(850, "S1 receives AppendReply of S3 term 4: accepted up to 2", 1, "0"),
    "lab": Picture(925, "BROKEN", 1, ""),
    "joint-change": Picture(890, "S4 votes of the old 0 of 3 of the new 3 of 3", 2, "-"),
}


def take(names: list[str], folder: Path) -> None:
    """PNG files of these."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    # Before the browser's event loop runs: a simulation has a loop of its own.
    runs = {name: lab() if name == "lab" else record(name) for name in names}
    with TemporaryDirectory() as pages, sync_playwright() as started:
        # --no-sandbox: what is opened here is our own, and root may be who opens it.
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name in names:
            picture, html, png = PICTURES[name], Path(pages) / "a.html", folder / f"{name}.png"
            write_page(runs[name], html)
            page = browser.new_page(viewport={"width": WIDTH, "height": picture.height})
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(html.as_uri())
            page.wait_for_selector("body[data-ready]")
            page.keyboard.press("/")
            page.keyboard.insert_text(picture.search)
            for _ in range(picture.hit):
                page.keyboard.press("Enter")
            chosen = page.inner_text("#event .what")
            page.fill("#search", "")
            page.keyboard.press("Escape")
            if picture.zoom:
                page.keyboard.press(picture.zoom)
            page.mouse.move(0, 0)
            frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
            page.evaluate(f"() => {frames}")
            page.screenshot(path=png)
            page.close()
            print(f"{png}: {png.stat().st_size} bytes; {chosen}")
        browser.close()


def lab() -> Run:
    """What ``quorate lab raft`` draws of a wrong core."""
    core, tests = load_core("commits_old_terms"), [TESTS["figure_8_by_steps"]]
    failure = run_tests(core, tests, None, 1, lambda outcome: None)
    if failure is None:
        sys.exit("error: a wrong core has passed figure 8")
    return failure.timeline


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        sys.exit("error: there is no chromium here to take pictures with: apt-get install chromium")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--output", type=Path, default=FOLDER, help="default: %(default)s")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in PICTURES]
    if unknown:
        parser.error(f"there is no picture {unknown[0]}: {', '.join(PICTURES)}")
    take(given.names or list(PICTURES), given.output)


if __name__ == "__main__":
    main()
