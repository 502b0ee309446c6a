"""A model's inner Settings are read and checked."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flowodm.exceptions import ConfigurationError, SettingsError
from flowodm.model import FlowBaseModel, ModelSettings, settings_of


class Shop(FlowBaseModel):
    class Settings:
        consumer_group = "shop"
        key_field = "order_id"

    order_id: str = ""


class Order(Shop):
    class Settings:
        topic = "orders"


def test_what_a_class_leaves_out_its_base_says():
    assert settings_of(Order) == ModelSettings(
        topic="orders",
        consumer_group="shop",
        schema_subject="orders-value",
        schema_path=None,
        key_field="order_id",
        key_serializer="string",
        value_serializer="avro",
        confluent_wire_format=True,
    )


def test_settings_may_inherit_from_settings():
    class Express(Order):
        class Settings(Order.Settings):
            consumer_group = "express"

    assert settings_of(Express).topic == "orders"
    assert settings_of(Express).consumer_group == "express"
    assert settings_of(Express).key_field == "order_id"


def test_settings_are_read_anew_each_time(monkeypatch):
    monkeypatch.setattr(Order.Settings, "topic", "other")
    assert settings_of(Order).topic == "other"
    assert settings_of(Order).schema_subject == "other-value"


def test_settings_that_have_not_changed_are_the_same_object(monkeypatch):
    before = settings_of(Order)
    assert settings_of(Order) is before
    with monkeypatch.context() as patch:
        patch.setattr(Shop.Settings, "consumer_group", "other")
        assert settings_of(Order).consumer_group == "other"
    assert settings_of(Order) == before


def test_a_class_may_be_given_other_settings(monkeypatch):
    settings_of(Order)
    monkeypatch.setattr(Order, "Settings", type("Settings", (), {"topic": "given"}))
    assert settings_of(Order).topic == "given"
    monkeypatch.delattr(Shop, "Settings")
    assert settings_of(Order).key_field is None


def test_what_settings_inherit_may_change_too(monkeypatch):
    class Base:
        topic = "one"

    class Inherited(FlowBaseModel):
        class Settings(Base):
            pass

    assert settings_of(Inherited).topic == "one"
    monkeypatch.setattr(Base, "topic", "two")
    assert settings_of(Inherited).topic == "two"


@pytest.mark.parametrize("topic", [None, "", 5])
def test_a_missing_topic_is_an_error_that_names_the_class(topic):
    class Nowhere(FlowBaseModel):
        pass

    if topic is not None:
        Nowhere.Settings = type("Settings", (), {"topic": topic})
    with pytest.raises(SettingsError, match="Nowhere has no topic") as caught:
        settings_of(Nowhere)
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key_field", "missing"),
        ("key_serializer", "typo"),
        ("value_serializer", "string"),
    ],
)
def test_a_value_without_effect_is_an_error_that_names_it(monkeypatch, name, value):
    monkeypatch.setattr(Order.Settings, name, value, raising=False)
    with pytest.raises(SettingsError, match=rf"Order\.Settings\.{name}.*{value}"):
        settings_of(Order)


def test_unknown_fields_are_refused_and_names_work_beside_aliases():
    from pydantic import Field  # noqa: PLC0415 - only this test's model needs it

    class Aliased(FlowBaseModel):
        value: int = Field(alias="theValue")

    assert Aliased(value=1) == Aliased(theValue=1)
    with pytest.raises(ValidationError):
        Aliased(value=1, other=2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("value_serialiser", "json", "did you mean value_serializer"),
        ("consumer_groups", "a", "did you mean consumer_group"),
        ("confluent_wire_format", "no", "must be True or False"),
        ("auto_register", 1, "must be True or False"),
        ("consumer_group", 5, "must be text, got 5"),
        ("topic", "a b", "'a b' is not a topic name"),
        ("topic", "..", "not a topic name"),
    ],
)
def test_a_slip_of_the_pen_is_an_error_that_names_it(monkeypatch, name, value, message):
    monkeypatch.setattr(Order.Settings, name, value, raising=False)
    with pytest.raises(SettingsError, match=rf"Order\.Settings\.{name}: .*{message}"):
        settings_of(Order)


def test_a_program_may_keep_settings_of_its_own_there(monkeypatch):
    monkeypatch.setattr(Order.Settings, "owner", "team shop", raising=False)
    assert settings_of(Order).topic == "orders"
