"""Of any hundred records in a row at most the share may be dead letters."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.engine.settlement import DeadLetterLimit


def test_a_broken_handler_stops_after_the_share_of_a_hundred():
    limit = DeadLetterLimit(0.5)

    assert [limit.dead() for _ in range(50)] == [True] * 50
    assert not limit.exceeded
    assert not limit.dead()
    assert limit.exceeded


def test_a_share_that_is_no_binary_fraction_is_taken_as_it_is_written():
    limit = DeadLetterLimit(0.29)

    assert [limit.dead() for _ in range(30)] == [True] * 29 + [False]


def test_one_in_two_never_exceeds_a_half():
    limit = DeadLetterLimit(0.5)

    for _ in range(1_000):
        limit.settled(1)
        assert limit.dead()


def test_the_share_of_all_is_no_limit_and_keeps_no_list():
    limit = DeadLetterLimit(1.0)

    assert all(limit.dead() for _ in range(1_000))
    assert not limit._dead


def test_the_share_of_none_refuses_the_first_one():
    limit = DeadLetterLimit(0)
    limit.settled(1_000_000)

    assert not limit.dead()
    assert limit.exceeded


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="from 0 to 1"):
        DeadLetterLimit(share)


steps = st.lists(st.just("dead") | st.integers(0, 30) | st.integers(90, 110), max_size=300)


@given(st.integers(0, 100), steps)
def test_no_hundred_records_in_a_row_hold_more_dead_letters_than_the_share(most, steps):
    limit, last_hundred = DeadLetterLimit(most / 100), deque(maxlen=100)

    for step in steps:
        if step == "dead":
            before = sum(last_hundred) - (last_hundred[0] if len(last_hundred) == 100 else 0)
            allowed = before + 1 <= most
            assert limit.dead() is allowed
            assert limit.exceeded is not allowed
            if not allowed:
                return
            last_hundred.append(1)
        else:
            limit.settled(step)
            last_hundred.extend([0] * step)
