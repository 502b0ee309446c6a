"""A process is recycled at its limits; jitter spreads processes that started together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.slot.recycling import Lifespan, Used


@pytest.mark.parametrize(
    ("span", "used", "why"),
    [
        (Lifespan(seconds=60), Used(60, 0), "it has run for 60 s"),
        (Lifespan(records=1000), Used(5, 1000), "it has settled 1000 records"),
        (Lifespan(resident_bytes=512_000_000), Used(5, 0, 600_000_000), "it has 600 MB of memory"),
    ],
)
def test_at_its_limit_a_process_is_due_and_the_reason_is_told(span, used, why):
    assert span.limited
    assert span.due(used, 0.0) == why


def test_without_limits_nothing_is_ever_due():
    assert not Lifespan().limited
    assert Lifespan().due(Used(1e9, 10**12, 10**15), 0.5) is None


def test_memory_that_nobody_knows_is_not_too_much():
    assert Lifespan(resident_bytes=1).due(Used(1, 1, None), 0.0) is None


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.integers(1, 10**9))
def test_a_process_own_limit_is_at_most_the_jitter_below_the_common_one(jitter, chance, limit):
    span = Lifespan(records=limit, jitter=jitter)
    assert span.due(Used(0, limit), chance) is not None
    below = int(limit * (1 - jitter)) - 1
    assert below < 0 or span.due(Used(0, below), chance) is None
