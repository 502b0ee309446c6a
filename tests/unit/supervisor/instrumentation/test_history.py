"""A bounded series of samples, and rates over the last seconds."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.instrumentation.history import (
    INTERVAL,
    POINTS,
    SAMPLES,
    SPAN,
    Figures,
    FleetSample,
    History,
    Rate,
)


def history(*figures, interval=INTERVAL):
    """A history of one consumer; each figure is (processed, lag), or None where it was not."""
    seen = History()
    for number, each in enumerate(figures):
        consumers = {} if each is None else {"orders": Figures(*each)}
        seen.add(FleetSample(number * interval, consumers))
    return seen


def test_a_rate_is_what_was_done_between_two_samples():
    shown = history((0, 7), (50, 5), (60, None)).shown(now=11.0)
    assert shown["age_seconds"] == [6.0, 1.0]
    assert shown["consumers"] == {"orders": {"records_per_second": [10.0, 2.0], "lag": [5, None]}}


def test_a_consumer_that_was_not_there_yet_has_a_gap_and_one_that_is_gone_is_not_shown():
    shown = history(None, (5, 1), (15, 2)).shown(now=10.0)
    assert shown["consumers"]["orders"] == {"records_per_second": [None, 2.0], "lag": [1, 2]}
    assert history((5, 1), None).shown(now=10.0)["consumers"] == {}


def test_a_total_that_shrinks_because_a_slot_is_gone_is_no_negative_rate():
    shown = history((100, 0), (60, 0)).shown(now=5.0)
    assert shown["consumers"]["orders"]["records_per_second"] == [0.0]


def test_nothing_and_a_single_sample_are_no_history():
    assert History().shown(now=1.0)["consumers"] == {}
    shown = history((1, 1)).shown(now=1.0)
    assert shown["age_seconds"] == []
    assert shown["consumers"] == {"orders": {"records_per_second": [], "lag": []}}


def test_a_sample_is_due_at_the_start_and_then_every_five_seconds():
    seen = History()
    assert seen.due(100.0)
    seen.add(FleetSample(100.0, {}))
    assert not seen.due(104.9)
    assert seen.due(105.0)


def test_it_reaches_back_a_quarter_of_an_hour_and_no_further():
    seen = history(*[(n, 0) for n in range(2 * SAMPLES)])
    ages = seen.shown(now=(2 * SAMPLES - 1) * INTERVAL)["age_seconds"]
    assert len(ages) == SAMPLES - 1
    assert ages[0] == SPAN - INTERVAL
    # … also where the samples are further apart, as those of a main loop that was held up.
    late = history(*[(n, 0) for n in range(100)], interval=100.0)
    assert max(late.shown(now=9900.0)["age_seconds"]) <= SPAN


def test_the_memory_of_a_consumer_and_a_worker_is_as_small_as_documented():
    tracemalloc.start()
    try:
        seen = History()
        for n in range(2 * SAMPLES):
            consumers = {f"c{i}": Figures(10**9 + n * i, 10**6 + n * i) for i in range(10)}
            seen.add(FleetSample(n * INTERVAL, consumers))
        after_history = tracemalloc.get_traced_memory()[0]
        rates = [Rate() for _ in range(10)]
        for n in range(2 * POINTS):
            for i, rate in enumerate(rates):
                rate.add(float(n), 10**9 + n * i)
        after_rates = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after_history / 10 < 40_000
    assert (after_rates - after_history) / 10 < 4_000


def test_a_workers_rate_is_that_of_the_last_ten_seconds():
    rate = Rate()
    for second in range(30):
        rate.add(float(second), second * (5 if second < 10 else 100))
    assert rate.per_second(29.5) == 100.0


def test_a_rate_falls_to_zero_once_the_worker_is_silent():
    rate = Rate()
    for second in range(20):
        rate.add(float(second), second * 100)
    assert rate.per_second(20.5) == 100.0
    assert 0 < rate.per_second(24.0) < 100.0
    assert rate.per_second(40.0) == 0.0


@pytest.mark.parametrize("points", [[], [(1.0, 5)], [(1.0, 5), (1.0, 9)]])
def test_less_than_two_heartbeats_are_no_rate(points):
    rate = Rate()
    for at, processed in points:
        rate.add(at, processed)
    assert rate.per_second(1.0) == 0.0


@given(
    st.lists(st.tuples(st.floats(0.001, 5.0), st.integers(0, 1000)), min_size=1, max_size=60),
    st.floats(0, 60),
)
def test_a_rate_never_exceeds_the_fastest_that_was_seen_between_two_heartbeats(steps, later):
    rate, at, total = Rate(), 0.0, 0
    rate.add(at, total)
    fastest = 0.0
    for gap, done in steps:
        at, total = at + gap, total + done
        rate.add(at, total)
        fastest = max(fastest, done / gap)
    assert 0.0 <= rate.per_second(at + later) <= fastest * 1.001 + 0.01
