"""assert_round_trip lists the differences, with their places."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from flowodm import FlowBaseModel, connect
from flowodm.testing import InMemoryKafka, assert_round_trip


class Colour(Enum):
    RED = "red"


class Part(BaseModel):
    name: str
    weights: list[float] = []


class Product(FlowBaseModel):
    class Settings:
        topic = "products"

    made: datetime
    colour: Colour
    parts: dict[str, Part]
    note: str | None = None


PRODUCT = Product(
    made=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    colour=Colour.RED,
    parts={"wheel": Part(name="wheel", weights=[1.5, math.nan])},
)


def test_a_message_that_comes_back_as_it_went_gives_its_bytes():
    assert assert_round_trip(PRODUCT).count(b"wheel") == 2


def test_no_registry_and_no_broker_is_asked():
    connect(bootstrap_servers="127.0.0.1:1", schema_registry_url="http://127.0.0.1:1")

    assert_round_trip(PRODUCT)


def test_it_may_stand_within_an_in_memory_kafka():
    with InMemoryKafka():
        assert_round_trip(PRODUCT)


def changed(kind, name):
    """Make a model with a value of this type that is read as another value."""

    class Doubling(FlowBaseModel):
        class Settings:
            topic = "doubling"

        value: kind

        @field_validator("value", mode="before")
        @classmethod
        def change(cls, value: Any) -> Any:
            return name(value) if cls.armed else value

    Doubling.armed = False
    return Doubling


@pytest.mark.parametrize(
    ("kind", "value", "change", "difference"),
    [
        (int, 3, lambda v: v + 1, r"Doubling\.value: 3 is 4"),
        (list[int], [1, 2], lambda v: [*v[:1], 5], r"Doubling\.value\[1\]: 2 is 5"),
        (dict[str, int], {"a": 1}, lambda v: {"a": 2}, r"Doubling\.value\['a'\]: 1 is 2"),
        (Part, Part(name="x"), lambda v: Part(name="y"), r"Doubling\.value\.name: 'x' is 'y'"),
        (int | bool, 1, lambda v: True, r"Doubling\.value: 1 \(int\) is True \(bool\)"),
        (list[int], [1], lambda v: [], r"Doubling\.value: \[1\] is \[\]"),
    ],
)
def test_what_comes_back_different_is_named_with_both_values(kind, value, change, difference):
    model = changed(kind, change)
    message = model(value=value)
    model.armed = True

    with pytest.raises(AssertionError, match=difference):
        assert_round_trip(message)
