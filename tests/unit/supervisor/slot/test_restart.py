"""A worker is restarted after a delay, until its slot has failed for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.slot.restart import (
    ExitClass,
    ExitCode,
    GiveUp,
    LeaveEnded,
    Restart,
    RestartHistory,
    RestartMode,
    RestartPolicy,
    classify,
    decide,
)

policies = st.builds(
    RestartPolicy,
    initial=st.floats(0.01, 5),
    factor=st.floats(1, 4),
    cap=st.floats(5, 60),
    jitter=st.floats(0, 1),
    limit=st.integers(0, 20),
    window=st.floats(1, 600),
    stable=st.floats(1, 600),
)
rolls = st.floats(0, 1, exclude_max=True)


def crash(policy, history=None, *, now=1000.0, uptime=0.0, random=0.5):
    history = history or RestartHistory()
    return decide(policy, history, ExitClass.CRASH, uptime=uptime, now=now, random=random)


def test_the_delay_doubles_from_the_initial_one_and_stays_at_the_cap():
    policy = RestartPolicy(initial=0.1, factor=2, cap=1, jitter=0)
    delays = [policy.delay(streak, 0.5) for streak in range(6)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1])


@given(policies, st.integers(0, 10_000), rolls)
def test_no_delay_is_negative_or_longer_than_the_cap(policy, streak, random):
    assert 0 <= policy.delay(streak, random) <= policy.cap


@given(policies, st.integers(0, 50))
def test_jitter_moves_the_delay_by_its_share_at_most(policy, streak):
    plain = policy.delay(streak, 0.5)
    low = policy.delay(streak, 0.0)
    high = policy.delay(streak, 0.999999)
    assert low == pytest.approx(plain * (1 - policy.jitter))
    assert plain <= high <= min(policy.cap, plain * (1 + policy.jitter)) + 1e-9


def test_one_failure_more_than_the_limit_within_the_window_is_the_last():
    policy = RestartPolicy(limit=3, window=60, jitter=0)
    history, now = RestartHistory(), 0.0
    for _ in range(3):
        decision = crash(policy, history, now=now)
        assert isinstance(decision, Restart)
        history, now = decision.history, now + 10
    assert crash(policy, history, now=now) == GiveUp("it ended 4 times within 60 s")


def test_failures_older_than_the_window_are_forgotten():
    policy = RestartPolicy(limit=2, window=60)
    history = RestartHistory(streak=2, ends=(0.0, 30.0))
    assert isinstance(crash(policy, history, now=59.9), GiveUp)
    assert isinstance(crash(policy, history, now=60.0), Restart)


def test_a_limit_of_zero_is_no_limit():
    policy = RestartPolicy(limit=0)
    history = RestartHistory()
    for number in range(500):
        decision = crash(policy, history, now=float(number))
        assert isinstance(decision, Restart)
        history = decision.history


def test_a_stable_run_resets_the_delay_but_not_the_count():
    policy = RestartPolicy(initial=0.1, stable=60, jitter=0, limit=5, window=1000)
    tired = RestartHistory(streak=8, ends=(100.0, 200.0))
    after_short = crash(policy, tired, uptime=59.9)
    after_stable = crash(policy, tired, uptime=60.0)
    assert isinstance(after_short, Restart)
    assert isinstance(after_stable, Restart)
    assert after_short.delay > after_stable.delay == pytest.approx(0.1)
    assert after_stable.history == RestartHistory(streak=1, ends=(100.0, 200.0, 1000.0))


@given(policies, st.lists(st.floats(0, 1000), max_size=50), rolls)
def test_the_history_never_grows_beyond_the_limit(policy, ends, random):
    history = RestartHistory(0, tuple(sorted(ends)))
    decision = crash(policy, history, now=1000.0, random=random)
    if isinstance(decision, Restart) and policy.limit:
        assert len(decision.history.ends) <= policy.limit


@given(policies)
def test_a_wrong_configuration_is_never_started_again(policy):
    ended = ExitClass.CONFIGURATION
    decision = decide(policy, RestartHistory(), ended, uptime=0, now=0, random=0)
    assert isinstance(decision, GiveUp)


@pytest.mark.parametrize(
    ("mode", "ended", "expected"),
    [
        (RestartMode.ALWAYS, ExitClass.DONE, Restart),
        (RestartMode.ALWAYS, ExitClass.CRASH, Restart),
        (RestartMode.ON_FAILURE, ExitClass.DONE, LeaveEnded),
        (RestartMode.ON_FAILURE, ExitClass.FENCED, Restart),
        (RestartMode.NEVER, ExitClass.DONE, LeaveEnded),
        (RestartMode.NEVER, ExitClass.CRASH, GiveUp),
    ],
)
def test_the_mode_says_which_ends_are_followed_by_a_start(mode, ended, expected):
    decision = decide(RestartPolicy(mode=mode), RestartHistory(), ended, uptime=0, now=0, random=0)
    assert isinstance(decision, expected)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, ExitClass.DONE),
        (1, ExitClass.CRASH),
        (ExitCode.RECORD, ExitClass.RECORD),
        (ExitCode.ORPHANED, ExitClass.ABANDONED),
        (ExitCode.CRASH, ExitClass.CRASH),
        (ExitCode.OUT_OF_MEMORY, ExitClass.OUT_OF_MEMORY),
        (ExitCode.FENCED, ExitClass.FENCED),
        (ExitCode.ABANDONED, ExitClass.ABANDONED),
        (ExitCode.CONFIGURATION, ExitClass.CONFIGURATION),
        (-9, ExitClass.SIGNAL),
        (-11, ExitClass.SIGNAL),
        (None, ExitClass.UNKNOWN),
    ],
)
def test_an_exit_status_has_a_class(status, expected):
    assert classify(status) is expected


@pytest.mark.parametrize("status", [-15, -9, None])
def test_a_signal_of_ours_is_told_from_anybody_elses(status):
    assert classify(status, killed_by_us=True) is ExitClass.KILLED


def test_a_worker_that_ends_well_after_our_signal_was_not_killed():
    assert classify(0, killed_by_us=True) is ExitClass.DONE


@pytest.mark.parametrize("passing", [ExitClass.SPAWN, ExitClass.FENCED])
def test_a_start_that_is_refused_for_now_is_tried_again_for_ever_and_ever_more_slowly(passing):
    policy = RestartPolicy(initial=1, jitter=0, cap=30, limit=2, window=1e6)
    history, delays = RestartHistory(), []
    for now in range(20):
        decision = decide(policy, history, passing, uptime=0, now=now, random=0.5)
        history = decision.history
        delays.append(decision.delay)
    assert delays == [1, 2, 4, 8, 16, *[30] * 15]
    assert history.ends == (), "it says nothing about the worker"
