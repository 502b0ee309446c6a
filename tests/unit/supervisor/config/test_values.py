"""Lengths of time and other single values of a configuration."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from supervisor.config.values import ExceptionName, Seconds, Size, StartFrom, TopicName, parse_start


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("2m", 120),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (3, 3),
        (0.25, 0.25),
        ("7", 7),
        ("1m 30s", 90),
    ],
)
def test_a_length_of_time_has_units_or_is_in_seconds(written, seconds):
    assert TypeAdapter(Seconds).validate_python(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "soon", "10 parsecs", "-3s", -1, True, [], "3s4", "inf", "nan", float("inf")]
)
def test_anything_else_is_no_length_of_time(written):
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(written)


@given(st.text(max_size=10))
def test_no_text_as_a_length_of_time_gives_anything_but_seconds_or_a_validation_error(text):
    with contextlib.suppress(ValidationError):
        assert TypeAdapter(Seconds).validate_python(text) >= 0


def problem(kind, written):
    """The one problem of a value, and what to write instead."""
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(kind).validate_python(written)
    (details,) = raised.value.errors()
    return f"{details['msg']}; {details['ctx']['hint']}"


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "position"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        (NOON, NOON),
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31 14:00:00+02:00", NOON),
        (0, 0),
        ("42", 42),
        (2**63 - 1, 2**63 - 1),
        ({"0": 100, "11": "250"}, {0: 100, 11: 250}),
    ],
)
def test_a_start_position_is_a_word_a_moment_an_offset_or_offsets_by_partition(written, position):
    assert TypeAdapter(StartFrom).validate_python(written) == position


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (datetime(2026, 1, 31, 12), "is not a timestamp; give date, time and time zone"),  # noqa: DTZ001
        ("2026-01-31T12:00:00", "is not a timestamp"),
        (date(2026, 1, 31), "is not a timestamp"),
        (time(12), "is not a timestamp"),
        ("noon", 'is not a start position; write "earliest"'),
        ("", "is not a start position"),
        (True, "is not a start position"),
        (1.5, "is not a start position"),
        ([0], "is not a start position"),
        ({}, "is not a start position"),
        (-1, "is not an offset; write an integer, 0 or more"),
        (2**63, "is not an offset"),
        ({"0": -1}, "the offset of partition 0 must be an integer, 0 or more"),
        ({"0": True}, "the offset of partition 0 must be an integer"),
        ({"00": 1}, "'00' is not a partition number"),
        ({"first": 1}, "'first' is not a partition number"),
        ({str(2**31): 1}, "'2147483648' is not a partition number"),
    ],
)
def test_anything_else_is_no_start_position(written, words):
    assert words in problem(StartFrom, written)


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
POSITIONS = st.one_of(
    st.sampled_from(["earliest", "latest"]),
    st.integers(0, 2**63 - 1),
    st.datetimes(timezones=ZONES),
    st.dictionaries(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), min_size=1),
)


@given(POSITIONS)
def test_a_start_position_comes_back_from_the_json_of_a_frame(position):
    kind = TypeAdapter(StartFrom)
    sent = json.dumps(kind.dump_python(kind.validate_python(position), mode="json"))
    assert parse_start(json.loads(sent)) == position


@given(st.text(max_size=30))
def test_no_text_as_a_start_position_raises_anything_but_a_validation_error(text):
    with contextlib.suppress(PydanticCustomError):
        assert isinstance(parse_start(text), str | int | datetime)


@pytest.mark.parametrize("name", ["TimeoutError", "OSError", "shop.errors:Unavailable"])
def test_an_exception_is_built_in_or_in_a_module(name):
    assert TypeAdapter(ExceptionName).validate_python(name) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TimeuotError", 'is not an exception class; did you mean "TimeoutError"?'),
        ("shop.errors.Unavailable", 'is not an exception class; write "package.module:Class"'),
        ("print", "is not an exception class"),
        ("int", "is not an exception class"),
        ("KeyboardInterrupt", "ends the process and cannot be retried"),
        ("SystemExit", "ends the process and cannot be retried"),
    ],
)
def test_another_name_is_no_exception(name, words):
    assert words in problem(ExceptionName, name)


@pytest.mark.parametrize("name", ["orders-dead", "a.b_C-9", "x" * 249, "..."])
def test_a_topic_has_a_name_that_kafka_takes(name):
    assert TypeAdapter(TopicName).validate_python(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ä", "x" * 250, "a\n"])
def test_another_name_is_no_topic(name):
    assert "is not a topic name" in problem(TopicName, name)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512MB", 512_000_000),
        ("1.5 GiB", 3 * 2**29),
        ("64kb", 64_000),
        ("100", 100),
        (4096, 4096),
        (0, 0),
    ],
)
def test_an_amount_of_memory_has_units_or_is_in_bytes(written, size):
    assert TypeAdapter(Size).validate_python(written) == size


@pytest.mark.parametrize("written", ["", "much", "-1MB", -1, True, 1.5, [], "9" * 400, "1M B"])
def test_anything_else_is_no_amount_of_memory(written):
    with pytest.raises(ValidationError):
        TypeAdapter(Size).validate_python(written)
