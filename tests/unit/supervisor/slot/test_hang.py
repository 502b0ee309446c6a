"""A worker that hangs is detected; a healthy one never is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.slot.hang import (
    ABSENCE,
    STARTUP,
    STEP,
    AttentionClock,
    Limits,
    Observation,
    detect_hang,
)
from supervisor.slot.restart import ExitClass

LIMITS = Limits(silence=30, handler=60, stall=300)
IDLE = Observation(process=1, joined=True)


def watch(observations, limits=LIMITS, step=1.0):
    """Look at the observations, each with a new heartbeat, one a second; return all results."""
    memory, hangs = None, []
    for number, observation in enumerate(observations):
        memory, hang = detect_hang(memory, replace(observation, beat=number), limits, number * step)
        hangs.append(hang)
    return hangs


def silent_after(observation, seconds, limits=LIMITS):
    """Return what is detected after so many seconds without another heartbeat."""
    memory, _ = detect_hang(None, observation, limits, 0.0)
    return detect_hang(memory, observation, limits, seconds)[1]


def test_a_worker_that_falls_silent_hangs_and_cannot_take_commands():
    assert silent_after(replace(IDLE, beat=1), 30) is None
    hang = silent_after(replace(IDLE, beat=1), 31)
    assert (hang.reason, hang.why, hang.deaf) == (ExitClass.HUNG, "no heartbeat for 31 s", True)


@pytest.mark.parametrize("beat", [None, 1])
def test_until_it_is_assigned_for_the_first_time_silence_has_more_time(beat):
    importing = Observation(process=1, beat=beat)
    assert silent_after(importing, 60) is None
    assert silent_after(importing, STARTUP) is None
    assert silent_after(importing, STARTUP + 1).reason is ExitClass.HUNG
    patient = Limits(silence=2 * STARTUP)
    assert silent_after(importing, STARTUP + 1, patient) is None


def test_in_a_later_rebalance_silence_counts_as_ever():
    memory, _ = detect_hang(None, replace(IDLE, beat=1), LIMITS, 0)
    memory, _ = detect_hang(memory, Observation(process=1, beat=2, joined=False), LIMITS, 1)
    assert (
        detect_hang(memory, Observation(process=1, beat=2, joined=False), LIMITS, 32)[1] is not None
    )


def test_the_next_process_of_the_slot_begins_anew():
    memory, _ = detect_hang(None, replace(IDLE, beat=1), LIMITS, 0)
    assert detect_hang(memory, Observation(process=2), LIMITS, 100)[1] is None


def test_a_handler_past_its_limit_hangs():
    hangs = watch([replace(IDLE, handler_seconds=float(n)) for n in range(62)])
    assert hangs[:61] == [None] * 61
    assert hangs[61].reason is ExitClass.HUNG
    assert hangs[61].why == "a handler has been running for 61 s; its limit is 60 s"
    assert not hangs[61].deaf


def test_many_handlers_one_after_the_other_are_not_one_long_one():
    hangs = watch([replace(IDLE, handler_seconds=n % 50 + 0.5) for n in range(500)])
    assert not any(hangs)


def test_a_handler_that_stood_still_with_the_whole_machine_is_not_past_its_limit():
    memory, _ = detect_hang(None, replace(IDLE, beat=1, handler_seconds=5), LIMITS, 10)
    thawed = replace(IDLE, beat=2, handler_seconds=3606)
    memory, hang = detect_hang(memory, thawed, LIMITS, 11)
    assert hang is None
    later = replace(IDLE, beat=3, handler_seconds=3662)
    assert detect_hang(memory, later, LIMITS, 67)[1] is not None, "62 s of them were seen"


def test_a_partition_that_stands_still_for_too_long_is_stalled():
    hangs = watch([replace(IDLE, behind=(("orders", 3, 17),))] * 302)
    assert hangs[:301] == [None] * 301
    assert hangs[301].reason is ExitClass.STALLED
    assert "orders/3 has stood at offset 17 for 301 s" in hangs[301].why


def test_progress_or_a_visible_reason_ends_the_stall():
    moving = [replace(IDLE, behind=(("orders", 3, n // 200),)) for n in range(1000)]
    assert not any(watch(moving))
    explained = [replace(IDLE, behind=(("orders", 3, 17),) if n % 200 else ()) for n in range(1000)]
    assert not any(watch(explained))


def test_one_partition_that_stands_is_found_among_many_that_move():
    observations = [
        replace(IDLE, handler_seconds=0.1, behind=(("orders", 0, n), ("orders", 1, 5)))
        for n in range(302)
    ]
    assert "orders/1" in watch(observations)[-1].why


def test_a_limit_of_nought_is_none():
    nothing = Limits(silence=0, handler=0, stall=0)
    assert silent_after(replace(IDLE, beat=1), 1e6, nothing) is None
    long = replace(IDLE, handler_seconds=1e6, behind=(("orders", 3, 17),))
    assert not any(watch([long] * 1000, nothing))


def test_attention_does_not_count_the_watchers_own_absence():
    attention = AttentionClock()
    moments = (100.0, 101.0, 3701.0, 3702.0)
    assert [attention.at(now) for now in moments] == [0, 1, 1 + ABSENCE, 2 + ABSENCE]


@given(st.lists(st.floats(0, 1e5), max_size=200))
def test_attention_never_runs_backwards_nor_faster_than_the_clock(gaps):
    attention, now, before = AttentionClock(), 0.0, None
    for gap in gaps:
        now += gap
        at = attention.at(now)
        assert before is None or 0 <= at - before <= min(gap, STEP) + 1e-6
        before = at


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 20),  # seconds of attention between two looks
            st.booleans(),  # whether a heartbeat came
            st.booleans(),  # whether it is joined
            st.floats(0, 25),  # the oldest handler
            st.integers(0, 2),  # how many partitions are behind
        ),
        max_size=100,
    )
)
def test_nothing_is_found_while_everything_stays_within_its_limits(steps):
    """Heartbeats at most 20 s apart, handlers of at most 25 s, partitions that move each time."""
    memory, at, beat, quiet = None, 0.0, 0, 0.0
    for number, (gap, came, joined, handling, behind) in enumerate(steps):
        at += gap
        quiet += gap
        if came or quiet > 20:
            beat, quiet = beat + 1, 0.0
        places = tuple(("orders", n, number) for n in range(behind))
        observation = Observation(1, beat, joined, handling if quiet == 0 else 0, places)
        memory, hang = detect_hang(
            memory, observation, Limits(silence=41, handler=50, stall=60), at
        )
        assert hang is None or hang.reason is ExitClass.STALLED
        if hang is not None:
            pytest.fail(hang.why)


@given(st.floats(0.1, 1e4), st.floats(0.1, STEP), st.booleans())
def test_silence_is_found_at_the_first_look_past_its_limit(limit, step, settled):
    observation = Observation(1, 1.0, joined=settled)
    limits = Limits(silence=limit)
    allowed = limit if settled else max(limit, STARTUP)
    memory, _ = detect_hang(None, observation, limits, 0.0)
    assert detect_hang(memory, observation, limits, allowed)[1] is None
    assert detect_hang(memory, observation, limits, allowed + step)[1] is not None
