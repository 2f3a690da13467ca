"""What a leader knows of one follower: probing, replicating, and the bounds of both."""

from hypothesis import given
from hypothesis import strategies as st

from quorate.raft.core.progress import Mode, Progress
from quorate.raft.core.settings import Limits

INFLIGHT = 3
SIZE = 10
LIMITS = Limits(inflight_messages=INFLIGHT, inflight_bytes=1_000)


def replicating(match_index: int) -> Progress:
    progress = Progress(match_index + 1)
    progress.accepted(match_index)
    return progress


def test_a_probe_is_one_request_at_a_time() -> None:
    progress = Progress(5)
    assert progress.may_send(LIMITS)
    progress.sent(9, SIZE)
    assert not progress.may_send(LIMITS)
    assert progress.next_index == 5  # not moved before the answer


def test_what_is_under_way_is_bounded_in_bytes_too() -> None:
    progress = replicating(0)
    progress.sent(1, LIMITS.inflight_bytes - 1)
    assert progress.may_send(LIMITS)  # one more is begun below the bound
    progress.sent(2, 5_000)
    assert not progress.may_send(LIMITS)
    progress.accepted(1)
    assert not progress.may_send(LIMITS)
    progress.accepted(2)
    assert progress.may_send(LIMITS)
    assert progress.inflight_bytes == 0


def test_an_accepted_probe_starts_replication() -> None:
    progress = Progress(5)
    progress.sent(9, SIZE)
    assert progress.accepted(9)
    assert (progress.mode, progress.paused) == (Mode.REPLICATE, False)
    assert (progress.match_index, progress.next_index) == (9, 10)


def test_replication_moves_next_index_as_it_sends() -> None:
    progress = replicating(9)
    progress.sent(12, SIZE)
    progress.sent(13, SIZE)
    assert (progress.match_index, progress.next_index) == (9, 14)


def test_replication_stops_at_the_bound_and_goes_on_with_the_first_answer() -> None:
    progress = replicating(0)
    for last_index in range(1, INFLIGHT + 1):
        assert progress.may_send(LIMITS)
        progress.sent(last_index, SIZE)
    assert not progress.may_send(LIMITS)
    progress.accepted(1)
    assert progress.may_send(LIMITS)
    assert list(progress.inflight) == [(2, SIZE), (3, SIZE)]


def test_one_answer_acknowledges_all_requests_before_it() -> None:
    progress = replicating(0)
    for last_index in (2, 4, 6):
        progress.sent(last_index, SIZE)
    progress.accepted(4)
    assert list(progress.inflight) == [(6, SIZE)]


def test_an_answer_that_is_overtaken_is_no_news() -> None:
    progress = replicating(9)
    assert not progress.accepted(7)
    assert not progress.accepted(9)
    assert (progress.match_index, progress.next_index) == (9, 10)


def test_a_refusal_leads_back_to_probing_and_forgets_what_is_under_way() -> None:
    progress = replicating(3)
    progress.sent(5, SIZE)
    progress.sent(8, SIZE)
    progress.probe_from(6)
    assert (progress.mode, progress.paused, list(progress.inflight)) == (Mode.PROBE, False, [])
    assert (progress.match_index, progress.next_index) == (3, 6)


def test_a_probe_never_goes_back_to_what_is_known_to_match() -> None:
    progress = replicating(7)
    progress.probe_from(2)
    assert progress.next_index == 8


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(0, 3)),
            st.tuples(st.just("accept"), st.integers(0, 30)),
            st.tuples(st.just("refuse"), st.integers(1, 30)),
        )
    )
)
def test_whatever_comes_the_bounds_hold_and_match_index_grows(
    events: list[tuple[str, int]],
) -> None:
    progress = Progress(4)
    highest_sent = 3
    for event, number in events:
        match_before = progress.match_index
        if event == "send" and progress.may_send(LIMITS):
            highest_sent = max(highest_sent, progress.next_index - 1 + number)
            progress.sent(progress.next_index - 1 + number, SIZE)
        elif event == "accept":
            progress.accepted(min(number, highest_sent))
        elif event == "refuse":
            progress.probe_from(min(number, progress.next_index))
        assert match_before <= progress.match_index < progress.next_index <= highest_sent + 1
        assert len(progress.inflight) <= INFLIGHT
        assert list(progress.inflight) == sorted(progress.inflight)


# Snapshots.


def fed(snapshot_index: int, match_index: int = 3) -> Progress:
    progress = replicating(match_index)
    progress.sent(match_index + 2, SIZE)
    progress.offered(snapshot_index)
    return progress


def test_while_a_snapshot_is_offered_nothing_else_may_be_sent() -> None:
    progress = fed(20)
    assert (progress.mode, list(progress.inflight)) == (Mode.SNAPSHOT, [])
    assert not progress.may_send(LIMITS)


def test_further_offers_do_not_move_what_is_needed_next() -> None:
    progress = fed(20)
    progress.offered(40)
    assert progress.snapshot_index == 20


def test_what_was_under_way_and_is_accepted_late_does_not_end_the_offers() -> None:
    progress = fed(20)
    assert progress.accepted(5)
    assert (progress.mode, progress.match_index, progress.next_index) == (Mode.SNAPSHOT, 5, 6)


def test_the_first_snapshot_ends_them_and_what_follows_it_is_next() -> None:
    for match_index in (20, 25):
        progress = fed(20)
        progress.offered(40)
        assert progress.accepted(match_index)
        assert (progress.mode, progress.next_index) == (Mode.REPLICATE, match_index + 1)
        assert progress.may_send(LIMITS)


def test_who_falls_behind_once_more_is_offered_a_new_first_one() -> None:
    progress = fed(20)
    progress.accepted(20)
    progress.offered(60)
    assert (progress.mode, progress.snapshot_index) == (Mode.SNAPSHOT, 60)
