"""The page shows what cannot come next and what came before it, and loads nothing."""

import re
from html.parser import HTMLParser

from histories import operation as op

from quorate.linearizability.history import Operation, Verdict
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS
from quorate.linearizability.page import MAX_KEYS, page
from quorate.linearizability.timeline import MAX_DRAWN


class Elements(HTMLParser):
    """The elements of a page, and whether all were closed."""

    VOID = ("meta", "rect", "line", "circle", "polyline", "i")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def drawn(self, kind: str) -> list[str]:
        """What hovering over the operations of a kind shows."""
        return [
            facts["data-tip"] or ""
            for tag, facts in self.found
            if tag == "g" and kind in (facts.get("class") or "").split()
        ]


def shown(model: str, history: list[Operation]) -> str:
    return page(MODELS[model], check_history(MODELS[model], history), "history.jsonl")


STALE = [
    op("write 1", 0, 1, process="writer"),
    op("write 2", 2, 3, process="writer"),
    op("read 1", 4, 5, process="reader"),
    op("write 9", 4, 5, "info", process="lost"),
    op("write 8", 4, 5, "fail", process="refused"),
    op("read 2", 7, 8, process="reader"),
]


def test_the_operation_that_cannot_come_next_is_red_and_says_why() -> None:
    elements = Elements(shown("register", STALE))
    [stuck] = elements.drawn("stuck")
    assert "read → 1, process reader" in stuck
    assert "Cannot come next: the register holds 2." in stuck


def test_the_longest_order_has_places_and_states() -> None:
    text = shown("register", STALE)
    first, second = Elements(text).drawn("placed")
    assert "Placed as number 1; then the register holds 1." in first
    assert "Placed as number 2; then the register holds 2." in second
    assert "<td>2</td><td>write 2</td><td>writer</td><td>the register holds 2</td>" in text


def test_what_was_refused_or_open_is_told_from_the_rest() -> None:
    elements = Elements(shown("register", STALE))
    assert "no answer" in elements.drawn("info")[0]
    assert "failed: had no effect" in elements.drawn("fail")[0]
    assert [tip.split(",")[0] for tip in elements.drawn("later")] == [
        "write 9",
        "write 8",
        "read → 2",
    ]


def test_the_page_loads_nothing() -> None:
    text = shown("register", STALE)
    assert not re.search(r"https?:|src=|href=|url\(|@import|fetch|<link|<img", text)


def test_what_a_history_holds_cannot_become_part_of_the_page() -> None:
    evil = "<script>alert(1)</script>\"'&"
    history = [op("put a", 0, 1, process=evil, key=evil), op("get a", 2, 3, process=evil, key=evil)]
    history[1].result = evil
    history[1].where = evil
    text = page(MODELS["kv"], check_history(MODELS["kv"], history), evil)
    assert text.count("<script>") == 1
    tags = {tag for tag, _ in Elements(text).found}
    assert {"script", "svg", "table"} <= tags


def test_of_a_long_history_the_end_is_drawn() -> None:
    history = [op(f"write {n}", 2 * n, 2 * n + 1) for n in range(1_000)]
    history.append(op("read 7", 3_000, 3_001))
    history += [op(f"write {n}", 2 * n, 2 * n + 1) for n in range(1_600, 2_600)]
    text = shown("register", history)
    elements = Elements(text)
    boxes = [tag for tag, facts in elements.found if facts.get("class") == "box"]
    assert len(boxes) <= MAX_DRAWN
    assert "read → 7" in elements.drawn("stuck")[0]
    assert "Placed as number 1000;" in elements.drawn("placed")[-1]
    assert len(text) < 200_000


def test_many_wrong_keys_are_named_and_some_drawn() -> None:
    history = [op("read 1", 0, 1, key=f"k{n}") for n in range(MAX_KEYS + 5)]
    text = shown("register", history)
    charts = [facts for _, facts in Elements(text).found if facts.get("class") == "chart"]
    assert len(charts) == MAX_KEYS
    assert f"k{MAX_KEYS + 4}" in text


def test_a_history_that_is_ok_says_so() -> None:
    text = shown("register", STALE[:2])
    assert 'class="verdict Ok"' in text and "<svg" not in text


def test_a_history_that_was_given_up_is_drawn_without_red() -> None:
    judgement = check_history(MODELS["register"], STALE, lambda steps: True)
    assert judgement.verdict is Verdict.UNKNOWN
    elements = Elements(page(MODELS["register"], judgement, "-"))
    assert elements.drawn("stuck") == []
    assert len(elements.drawn("later")) == len(STALE)
