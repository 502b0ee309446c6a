"""A program's except clauses and raise statements for flowodm 0.3.1 mean the same."""

from __future__ import annotations

import pytest

import flowodm
from flowodm import (
    ConfigurationError,
    DeserializationError,
    FlowODMError,
    RecordError,
    SchemaCompatibilityError,
    SchemaError,
    SchemaRegistryError,
    SchemaValidationError,
    SettingsError,
)

BASES = {
    "ConfigurationError": "FlowODMError",
    "ConnectionError": "FlowODMError",
    "ConsumerError": "FlowODMError",
    "DeserializationError": "FlowODMError",
    "ProducerError": "FlowODMError",
    "SchemaCompatibilityError": "SchemaError",
    "SchemaError": "FlowODMError",
    "SchemaRegistryError": "SchemaError",
    "SchemaValidationError": "SchemaError",
    "SerializationError": "FlowODMError",
    "SettingsError": "FlowODMError",
    "TopicError": "FlowODMError",
}


@pytest.mark.parametrize(("name", "base"), BASES.items())
def test_it_is_caught_by_the_same_clause(name, base):
    assert issubclass(getattr(flowodm, name), getattr(flowodm, base))
    with pytest.raises(FlowODMError, match="why"):
        raise getattr(flowodm, name)("why")


def test_the_errors_of_flowodm_do_not_catch_python_s_own():
    assert not issubclass(flowodm.ConnectionError, OSError)
    assert not issubclass(OSError, flowodm.ConnectionError)


def test_a_missing_topic_is_caught_as_either():
    assert issubclass(SettingsError, ConfigurationError)


def test_a_validation_error_lists_its_faults():
    assert SchemaValidationError("two").errors == []
    assert SchemaValidationError("two", ["a", "b"]).errors == ["a", "b"]
    assert SchemaValidationError("two", errors=["a"]).args == ("two",)


def test_a_compatibility_error_names_the_rule():
    assert SchemaCompatibilityError("no").compatibility_level is None
    assert SchemaCompatibilityError("no", compatibility_level="FULL").compatibility_level == "FULL"


def test_a_registry_s_trouble_is_a_schema_error():
    assert issubclass(SchemaRegistryError, SchemaError)
    assert issubclass(flowodm.RegistryUnavailableError, SchemaRegistryError)


def test_a_record_error_names_its_place_once():
    place = {"topic": "orders", "partition": 0, "offset": 2}
    said = str(DeserializationError("not Avro", **place, schema_id=7))
    for message in ("handler failed", f"deserialization failed for good: {said}"):
        assert str(RecordError(message, **place)).count("topic orders, partition 0, offset 2") == 1
