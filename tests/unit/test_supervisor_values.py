"""supervisor.values: lengths of time and other single values of a configuration."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from supervisor.values import Seconds


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
