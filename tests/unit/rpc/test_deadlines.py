"""Deadlines: each expires at its time, ended ones never, and the heap stays small."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quorate.rpc.deadlines import Deadlines


class HandClock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_ms = 1000.0
        self.timers: list[tuple[float, Callable[..., object], HandTimer]] = []

    def monotonic_ms(self) -> float:
        return self.now_ms

    def wall_ms(self) -> int:
        return int(self.now_ms)

    async def sleep(self, delay_ms: float) -> None:
        raise NotImplementedError

    def call_later(
        self, delay_ms: float, callback: Callable[..., object], *args: Any
    ) -> "HandTimer":
        timer = HandTimer()
        self.timers.append((self.now_ms + delay_ms, callback, timer))
        return timer

    def advance(self, by_ms: float) -> None:
        until_ms = self.now_ms + by_ms
        while due := [entry for entry in self.timers if entry[0] <= until_ms]:
            entry = min(due, key=lambda entry: entry[0])
            self.timers.remove(entry)
            self.now_ms = max(self.now_ms, entry[0])
            if not entry[2].cancelled:
                entry[1]()
        self.now_ms = until_ms

    def armed(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self.timers)


class HandTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Owner:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.live: dict[int, str] = {}
        self.expired: list[tuple[int, float]] = []
        self.deadlines = Deadlines(self.clock, self.live, self.expire)

    def add(self, key: int, timeout_ms: float) -> None:
        self.live[key] = "live"
        self.deadlines.add(key, timeout_ms)

    def expire(self, key: int) -> None:
        del self.live[key]
        self.expired.append((key, self.clock.now_ms - 1000.0))


def test_each_expires_at_its_own_time_in_order() -> None:
    owner = Owner()
    for key, timeout_ms in [(1, 300.0), (2, 100.0), (3, 200.0)]:
        owner.add(key, timeout_ms)
    owner.clock.advance(1000)
    assert owner.expired == [(2, 100.0), (3, 200.0), (1, 300.0)]


def test_one_that_ended_before_never_expires() -> None:
    owner = Owner()
    owner.add(1, 100)
    owner.add(2, 200)
    del owner.live[1]
    owner.clock.advance(1000)
    assert owner.expired == [(2, 200.0)]


def test_one_added_while_another_expires_expires_too() -> None:
    owner = Owner()
    real = owner.expire

    def expire(key: int) -> None:
        real(key)
        if key < 3:
            owner.add(key + 1, 50)

    owner.deadlines = Deadlines(owner.clock, owner.live, expire)
    owner.add(1, 50)
    owner.clock.advance(1000)
    assert owner.expired == [(1, 50.0), (2, 100.0), (3, 150.0)]


def test_after_close_nothing_expires_and_no_timer_is_left() -> None:
    owner = Owner()
    owner.add(1, 100)
    owner.deadlines.close()
    owner.clock.advance(1000)
    assert owner.expired == []
    assert owner.clock.armed() == 0


def test_ten_thousand_calls_that_ended_leave_no_more_than_one_timer_and_a_small_heap() -> None:
    owner = Owner()
    for key in range(10_000):
        owner.add(key, 5000)
        if key >= 8:
            del owner.live[key - 8]
    assert owner.clock.armed() == 1
    assert len(owner.deadlines._heap) < 200


@given(st.lists(st.tuples(st.integers(1, 500), st.booleans(), st.integers(0, 40)), max_size=40))
def test_all_that_live_and_only_they_expire_at_their_time(
    steps: list[tuple[int, bool, int]],
) -> None:
    owner = Owner()
    wanted = {}
    for key, (timeout_ms, ends, pause_ms) in enumerate(steps):
        owner.add(key, timeout_ms)
        wanted[key] = owner.clock.now_ms - 1000.0 + timeout_ms
        if ends:
            del owner.live[key]
            del wanted[key]
        owner.clock.advance(pause_ms)
    owner.clock.advance(1000)
    assert dict(owner.expired).keys() == wanted.keys()
    # A timer is at least 1 ms, so that an expiry is never early and at most 1 ms late.
    assert all(0 <= at_ms - wanted[key] <= 1 for key, at_ms in owner.expired)
