"""Where a new group begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.engine.start import Edge, Extent, Moment, Offsets, parse, position

EXTENT = Extent(first=10, end=20)


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("earliest", Edge.EARLIEST),
        ("latest", Edge.LATEST),
        (0, Offsets(0, {})),
        (7, Offsets(7, {})),
        ({0: 5, 3: 0}, Offsets(None, {0: 5, 3: 0})),
        (datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC), Moment(1_500)),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), Moment(0)),
        (datetime(1969, 12, 31, tzinfo=UTC), Moment(0)),
    ],
)
def test_each_kind_is_read_and_what_is_read_stays_as_it_is(value, start):
    assert parse(value) == start
    assert parse(start) == start


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("Earliest", "'earliest', 'latest'"),
        ("", "'earliest', 'latest'"),
        (None, "not None"),
        (1.5, "not 1.5"),
        (True, "not True"),
        (-1, "0 or more, not -1"),
        ({}, "empty mapping"),
        ({"0": 5}, "partition number of start_from must be an int of 0 or more, not '0'"),
        ({0: -5}, r"start_from\[0\] must be an int of 0 or more"),
        ({0: None}, r"start_from\[0\]"),
        ({True: 1}, "not True"),
        (datetime(2026, 1, 1), "has no time zone"),  # noqa: DTZ001 - that is the mistake
    ],
)
def test_anything_else_is_refused_with_the_reason(value, hint):
    with pytest.raises(ValueError, match=hint):
        parse(value)


def test_the_ends_are_the_first_record_and_behind_the_last_one():
    assert position(Edge.EARLIEST, 0, EXTENT) == 10
    assert position(Edge.LATEST, 0, EXTENT) == 20


def test_after_the_last_record_means_the_end():
    assert position(Moment(5), 0, Extent(10, 20, at_moment=13)) == 13
    assert position(Moment(5), 0, EXTENT) == 20


def test_a_partition_that_a_mapping_does_not_name_is_left_alone():
    assert position(Offsets(None, {1: 15}), 0, EXTENT) is None
    assert position(Offsets(None, {1: 15}), 1, EXTENT) == 15


@given(offset=st.integers(0, 40), first=st.integers(0, 20), length=st.integers(0, 20))
def test_an_offset_is_moved_into_what_the_partition_holds(offset, first, length):
    """Beyond it the broker would send the consumer to where auto.offset.reset says."""
    found = position(Offsets(offset, {}), 0, Extent(first, first + length))

    assert first <= found <= first + length
    if first <= offset <= first + length:
        assert found == offset
