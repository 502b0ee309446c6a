from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.cli.starting import Last, parse_from, start_offsets
from flowodm.consumer.engine.start import Edge, Moment, Offsets

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
EXTENTS = {0: (10, 20), 1: (0, 0), 2: (5, 7)}


def milliseconds(moment):
    return Moment(int(moment.timestamp() * 1000))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("earliest", Edge.EARLIEST),
        ("latest", Edge.LATEST),
        ("0", Offsets(0, {})),
        ("12", Offsets(12, {})),
        ("-10", Last(10)),
        ("30s", milliseconds(NOW - timedelta(seconds=30))),
        ("15m", milliseconds(NOW - timedelta(minutes=15))),
        ("2h", milliseconds(NOW - timedelta(hours=2))),
        ("7d", milliseconds(NOW - timedelta(days=7))),
        ("999999999d", Edge.EARLIEST),
        ("2026-01-31T12:00Z", milliseconds(NOW)),
        ("2026-01-31T13:00+01:00", milliseconds(NOW)),
    ],
)
def test_what_can_be_written_means(text, meaning):
    assert parse_from(text, NOW) == meaning


def test_a_time_without_a_zone_is_local():
    local = datetime(2026, 1, 31, 12).astimezone()
    assert parse_from("2026-01-31T12:00", NOW) == milliseconds(local)
    assert parse_from("2026-01-31", NOW) == milliseconds(local.replace(hour=0))


@pytest.mark.parametrize("text", ["", "later", "--1", "1.5", "15min", "0001-01-01", "٣", "-"])
def test_anything_else_is_refused_with_what_there_is(text):
    with pytest.raises(ValueError, match="not one of: earliest, latest"):
        parse_from(text, NOW)


def nothing_at(_moment):
    raise AssertionError("only a time needs the broker")


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("earliest", {0: 10, 1: 0, 2: 5}),
        ("latest", {0: 20, 1: 0, 2: 7}),
        ("6", {0: 10, 1: 0, 2: 6}),
        ("15", {0: 15, 1: 0, 2: 7}),
        ("-3", {0: 17, 1: 0, 2: 5}),
        ("-0", {0: 20, 1: 0, 2: 7}),
    ],
)
def test_each_partition_begins_within_what_it_holds(text, offsets):
    assert start_offsets(parse_from(text, NOW), EXTENTS, nothing_at) == offsets


def test_a_partition_without_a_record_after_the_time_begins_at_its_end():
    asked = []

    def offsets_at(moment):
        asked.append(moment)
        return {0: 15}

    start = parse_from("1h", NOW)
    assert start_offsets(start, EXTENTS, offsets_at) == {0: 15, 1: 0, 2: 7}
    assert asked == [start.milliseconds]


@given(st.text())
def test_no_text_makes_it_fail_otherwise(text):
    try:
        parse_from(text, NOW)
    except ValueError as error:
        assert "not one of" in str(error)  # noqa: PT017 - most texts are refused, and some are not
