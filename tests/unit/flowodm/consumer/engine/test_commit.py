"""When a commit goes out, and how far it may run ahead of the handlers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.engine.commit import (
    ANSWER_TIMEOUT,
    RETRY_DELAY_MAX,
    CommitAhead,
    CommitSchedule,
)


def test_a_busy_loop_commits_once_an_interval():
    schedule = CommitSchedule(1.0)
    schedule.sent(10.0)
    schedule.answered(10.1, ok=True)

    assert not schedule.due(10.9, idle=False)
    assert schedule.due(11.0, idle=False)


def test_an_idle_loop_commits_at_once():
    schedule = CommitSchedule(1.0)
    schedule.sent(10.0)
    schedule.answered(10.1, ok=True)

    assert schedule.due(10.2, idle=True)


def test_a_second_commit_waits_for_the_first_ones_answer():
    schedule = CommitSchedule(1.0)

    schedule.sent(10.0)

    assert not schedule.due(50.0, idle=True)


def test_a_commit_that_is_never_answered_is_sent_again():
    schedule = CommitSchedule(1.0)

    schedule.sent(10.0)

    assert schedule.due(10.0 + ANSWER_TIMEOUT, idle=False)


def test_a_failed_commit_is_not_repeated_at_once_even_when_idle():
    schedule = CommitSchedule(1.0)
    schedule.sent(10.0)

    schedule.answered(10.0, ok=False)

    assert schedule.backing_off(10.05)
    assert not schedule.due(10.05, idle=True)
    assert schedule.due(10.1, idle=True)


@given(failures=st.integers(1, 200))
def test_the_delay_after_failures_grows_to_a_bound(failures):
    schedule = CommitSchedule(1.0)
    for _ in range(failures):
        schedule.answered(0.0, ok=False)

    assert not schedule.backing_off(RETRY_DELAY_MAX)


def test_commits_run_ahead_by_what_the_budget_covers():
    ahead = CommitAhead(budget=0.1, concurrency=1, largest=500)
    for _ in range(20):
        ahead.measured(records=10, seconds=0.01)

    assert ahead.size == 100


def test_a_handler_slower_than_the_budget_gets_one_record_at_a_time():
    ahead = CommitAhead(budget=0.1, concurrency=1, largest=500)

    ahead.measured(records=1, seconds=3.0)

    assert ahead.size <= 1


def test_without_a_budget_nothing_runs_ahead():
    ahead = CommitAhead(budget=0.0, concurrency=1, largest=500)
    ahead.measured(records=1000, seconds=0.001)
    ahead.measured(records=1000, seconds=0.0)

    assert ahead.size == 0


def test_one_slow_record_shortens_the_next_window_at_once():
    ahead = CommitAhead(budget=0.1, concurrency=1, largest=500)
    for _ in range(20):
        ahead.measured(records=100, seconds=0.01)

    ahead.measured(records=1, seconds=0.1)

    assert ahead.size <= 1


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 100)), max_size=50))
def test_a_window_is_never_larger_than_a_fetch(measurements):
    ahead = CommitAhead(budget=0.1, concurrency=10, largest=500)
    for records, seconds in measurements:
        ahead.measured(records, seconds)

        assert 0 <= ahead.size <= 500
