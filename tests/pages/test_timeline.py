"""The timelines of figures 7 and 8 in a real Chromium, opened as files: a reader can use them."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorate.simulator.lab.command import TESTS, load_core, run_tests
from quorate.simulator.timeline.drawing import record
from quorate.simulator.timeline.page import write_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no chromium here (apt-get install chromium)", allow_module_level=True)

TIMEOUT_MS = 10_000
SCREENSHOTS = Path(__file__).resolve().parents[2] / "bench" / "screenshots.py"


@pytest.fixture(scope="module")
def lab_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figure 8 with a wrong core; made before a browser's event loop runs."""
    core, tests = load_core("commits_old_terms"), [TESTS["figure_8_by_steps"]]
    failure = run_tests(core, tests, None, 1, lambda outcome: None)
    assert failure is not None
    file = tmp_path_factory.mktemp("lab") / "timeline.html"
    write_page(failure.timeline, file)
    return file


@pytest.fixture(scope="module")
def browser(lab_page: Path) -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        # --no-sandbox: containers run tests as root; what is opened here is our own.
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Reader:
    """Somebody who has opened a timeline."""

    def __init__(self, browser: "playwright.Browser", file: Path) -> None:
        self.page = browser.new_page(viewport={"width": 1500, "height": 950})
        self.page.set_default_timeout(TIMEOUT_MS)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("body[data-ready]")

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def cells(self, node: str) -> str:
        """The terms of the log of a node, as they are shown."""
        texts = self.page.locator(f'#states tr[data-node="{node}"] .cell').all_inner_texts()
        return "".join(texts)

    def point(self, share: float) -> None:
        """At a place between the left (0) and right (1) ends of the drawing."""
        box = self.page.locator("#lanes").bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + 112 + share * (box["width"] - 140), box["y"] + 60)

    def wait_until(self, selector: str, text: str) -> None:
        """Until that element says this."""
        self.page.wait_for_selector(f'{selector}:text-is("{text}")')

    def close(self) -> None:
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith("file:")] == []
        self.page.close()


@pytest.fixture
def reader(
    browser: "playwright.Browser", tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Reader]:
    file = tmp_path / "timeline.html"
    write_page(record(request.param), file)
    found = Reader(browser, file)
    yield found
    found.close()


@pytest.mark.parametrize("reader", ["figure-7"], indirect=True)
def test_figure_7_opens_with_its_logs_and_ends_with_one(reader: Reader) -> None:
    assert reader.text("h1").startswith("Figure 7")
    assert reader.cells("S1") == "1114455666"
    assert reader.cells("(d)") == "111445566677"
    assert reader.cells("(f)") == "11122233333"
    reader.page.keyboard.press("End")
    assert {reader.cells(node) for node in ("S1", "(a)", "(d)", "(f)")} == {"11144556668"}


@pytest.mark.parametrize("reader", ["figure-8"], indirect=True)
def test_figure_8_tells_the_state_where_the_reader_points(reader: Reader) -> None:
    reader.page.click("#whole")
    reader.point(0.6)
    reader.wait_until("#states tr[data-node=S5] .role", "leader")
    assert reader.text("#states tr[data-node=S1] .role") == "down"
    assert (reader.cells("S1"), reader.cells("S5")) == ("124", "135")
    reader.point(0.03)
    reader.wait_until("#states tr[data-node=S5] .role", "follower")
    assert (reader.cells("S1"), reader.cells("S5")) == ("12", "1")


@pytest.mark.parametrize("reader", ["figure-8"], indirect=True)
def test_a_reader_searches_and_comes_to_the_line_and_the_section(reader: Reader) -> None:
    page = reader.page
    page.keyboard.press("/")
    page.keyboard.type("S5 is leader term 3")
    assert reader.text("#found") == "1 found"
    page.keyboard.press("Enter")
    assert reader.text("#event .what") == "S5 is leader in term 3"
    assert "quorate/raft/core/election.py:" in reader.text("#event summary")
    assert "replica.role = Role.LEADER" in reader.text("#event .here")
    assert "§5.2" in reader.text("#event .section")
    assert page.get_attribute("#event .section a", "href") == "https://raft.github.io/raft.pdf"
    assert reader.text("#around [aria-current]") == "S5 is leader in term 3"


@pytest.mark.parametrize("reader", ["figure-8"], indirect=True)
def test_keys_walk_from_event_to_event_and_from_chapter_to_chapter(reader: Reader) -> None:
    page = reader.page
    assert "(a) S1 leads in term 2" in reader.text("#chapter-text")
    page.keyboard.press("]")
    assert "(b) S1 crashes" in reader.text("#chapter-text")
    page.keyboard.press("ArrowRight")
    first = reader.text("#event .what")
    page.keyboard.press("ArrowRight")
    assert reader.text("#event .what") != first
    page.keyboard.press("ArrowLeft")
    assert reader.text("#event .what") == first


@pytest.mark.parametrize("reader", ["figure-8"], indirect=True)
def test_lanes_are_drawn_and_zooming_draws_others(reader: Reader) -> None:
    page = reader.page
    count = "() => new Set(new Uint32Array(document.getElementById('lanes').getContext('2d')"
    count += ".getImageData(0, 0, 1000, 400).data.buffer)).size"
    assert page.evaluate(count) > 50
    assert set(page.locator("#node option").all_inner_texts()) == {
        "all lanes",
        "S1",
        "S2",
        "S3",
        "S4",
        "S5",
    }
    before = page.locator("#lanes").screenshot()
    page.keyboard.press("+")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    assert page.locator("#lanes").screenshot() != before


@pytest.mark.parametrize("reader", ["joint-change"], indirect=True)
def test_the_joint_phase_shows_who_obeys_what(reader: Reader) -> None:
    page = reader.page
    page.keyboard.press("/")
    page.keyboard.type("S4 votes old 0 of 3 new 3 of 3 term 2")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert reader.text("#event .what").endswith("of the new 3 of 3: not both majorities")
    assert "§6" in reader.text("#event .section")
    assert "min(reached" in reader.text("#event .here")
    assert reader.text("#states tr[data-node=S4] .joint") == "S1 S2 S3 → S4 S5 S6"
    assert reader.text("#states tr[data-node=S2] .members") == "S1 S2 S3, learning S4 S5 S6"
    assert page.locator("#states tr[data-node=S4] .cell.change").count() == 2
    assert "majority of each" in reader.text("#legend")
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    assert page.locator("#states .joint").count() == 0


@pytest.mark.parametrize("reader", ["figure-8"], indirect=True)
def test_where_members_never_change_nothing_is_said_of_them(reader: Reader) -> None:
    assert reader.page.locator("#states .members, #states .joint").count() == 0
    assert not reader.page.is_visible("#changekey")
    assert "majority of each" not in reader.text("#legend")


def test_one_command_takes_the_pictures(tmp_path: Path) -> None:
    command = [sys.executable, str(SCREENSHOTS), "figure-8", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "S1 receives AppendReply of S3, term 4: accepted up to 2" in done.stdout
    assert (tmp_path / "figure-8.png").read_bytes().startswith(b"\x89PNG")


def test_a_learners_failure_opens_where_it_failed_and_shows_its_lines(
    browser: "playwright.Browser", lab_page: Path
) -> None:
    reader = Reader(browser, lab_page)
    assert reader.text("#event .what").startswith("BROKEN: State Machine Safety")
    assert [reader.cells(f"n{node}") for node in range(1, 6)] == ["1", "1", "3", "3", "3"]
    reader.page.keyboard.press("/")
    reader.page.keyboard.insert_text("n5 sends RequestVote term 11")
    reader.page.keyboard.press("Enter")
    assert "§5.4.1" in reader.text("#event .section")
    assert "cores/simple.py" in reader.text("#event summary")
    assert "self.host.send(peer, RequestVote" in reader.text("#event .row.here")
    reader.close()
