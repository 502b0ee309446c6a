"""Codecs live as long as their model class, and no longer."""

from __future__ import annotations

import gc
import pickle
import weakref
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel

from flowodm import FlowBaseModel
from flowodm.connection.model_cache import ModelCache
from flowodm.model_settings import settings_of
from flowodm.serialization.codecs import codec_for
from flowodm.serialization.keys import keys_of

CLASSES = 50


def use_a_new_model(value_serializer: str, key_serializer: str) -> list[weakref.ref[type]]:
    """Make classes, write and read a message and a key with them; return references to them."""

    class Colour(StrEnum):
        RED = "red"

    class Line(BaseModel):
        sku: str

    class Refund(BaseModel):
        amount: float

    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"
            key_field = "channel"

        order_id: str
        channel: Colour | None = None
        lines: list[Line]
        colour: Colour | int = 0
        last: Line | Refund | None = None

    class SpecialLine(Line):
        pass

    Order.Settings.value_serializer = value_serializer  # type: ignore[attr-defined]
    Order.Settings.key_serializer = key_serializer  # type: ignore[attr-defined]
    codec = codec_for(Order)
    order = Order(
        order_id="o-1", lines=[Line(sku="A")], colour=Colour.RED, last=SpecialLine(sku="B")
    )
    message = codec.decode(codec.encode(order))
    assert message.order_id == "o-1"
    assert keys_of(Order).encode(Colour.RED) in {b"\x00", b'"red"'}
    assert order.to_avro_dict()["order_id"] == "o-1"
    return [weakref.ref(cls) for cls in (Order, Line, SpecialLine, Refund, Colour)]


@pytest.mark.parametrize("serializer", ["avro", "json"])
def test_model_classes_that_nobody_uses_any_more_are_freed(serializer):
    references: list[weakref.ref[type]] = []
    for _ in range(CLASSES):
        references += use_a_new_model(serializer, key_serializer=serializer)
    gc.collect()
    assert [ref for ref in references if ref() is not None] == []


def test_classes_that_a_long_lived_model_has_met_are_freed():
    """If a field holds a subclass of its type, the model's codec does not keep the subclass."""

    class Line(BaseModel):
        sku: str

    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"

        line: Line
        other: Line | int | None = None

    def use_a_subclass() -> weakref.ref[type]:
        class Special(Line):
            pass

        order = Order(line=Special(sku="A"), other=Special(sku="B"))
        assert codec_for(Order).decode(codec_for(Order).encode(order)).line == Line(sku="A")
        return weakref.ref(Special)

    references = [use_a_subclass() for _ in range(CLASSES)]
    gc.collect()
    assert [ref for ref in references if ref() is not None] == []


def test_a_codec_is_made_once_for_a_class_and_not_for_its_subclass():
    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"

        n: int

    class Special(Order):
        extra: str = ""

    assert codec_for(Order) is codec_for(Order)
    assert codec_for(Special) is not codec_for(Order)
    assert codec_for(Special).model is Special


def test_a_copy_of_a_class_starts_without_what_was_made_for_the_class():
    """If a class is copied by value, as cloudpickle does, its codec's locks are no obstacle."""

    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"

        n: int

    cache: ModelCache[list[Any]] = ModelCache("example", lambda *_: [object()])
    made = cache.get(Order, settings_of(Order))
    entry = vars(Order)["__flowodm_example__"]
    setattr(Order, "__flowodm_example__", pickle.loads(pickle.dumps(entry)))  # noqa: B010 - mypy knows no such attribute
    assert cache.get(Order, settings_of(Order)) is not made
