"""A schema's values are checked before anything else looks at them, and the error says where."""

from __future__ import annotations

import pytest

from flowodm.avro.parsing import parsed, parsed_record
from flowodm.avro.schema_values import MOST_BYTES, MOST_LEVELS, MOST_PARTS, check_values
from flowodm.exceptions import SchemaValidationError


def record(kind, **more):
    return {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind, **more}]}


def nested(levels):
    schema = "int"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


WRONG = {
    "size": ({"type": "fixed", "name": "F", "size": "print()"}, "size must be an integer from 0"),
    "size below 0": ({"type": "fixed", "name": "F", "size": -1}, "size must be"),
    "size as a bool": ({"type": "fixed", "name": "F", "size": True}, "size must be"),
    "size as a float": ({"type": "fixed", "name": "F", "size": 4.0}, "size must be"),
    "size too large": ({"type": "fixed", "name": "F", "size": MOST_BYTES + 1}, "size must be"),
    "precision": (
        {"type": "bytes", "logicalType": "decimal", "precision": "9"},
        "precision must be an integer",
    ),
    "precision 0": ({"type": "bytes", "logicalType": "decimal", "precision": 0}, "precision"),
    "scale": (
        {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": "import os"},
        "scale must be an integer",
    ),
    "logicalType": ({"type": "string", "logicalType": ["uuid"]}, "logicalType must be text"),
    "symbols as text": ({"type": "enum", "name": "E", "symbols": "ABC"}, "symbols must be a list"),
    "symbols twice": ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "symbols must be"),
    "no symbols": ({"type": "enum", "name": "E", "symbols": []}, "symbols must be"),
    "a symbol": ({"type": "enum", "name": "E", "symbols": ["A", "b c"]}, "symbols must be"),
    "aliases": ({"type": "enum", "name": "E", "symbols": ["A"], "aliases": "x"}, "aliases must"),
    "type": ({"type": 7}, "type must be a schema"),
    "name": ({"type": "fixed", "name": 7, "size": 4}, "name must be text"),
    "fields": ({"type": "record", "name": "S", "fields": {"a": 1}}, "fields must be a list"),
    "a key": ({"type": "int", 7: 8}, "the key 7 is not text"),
}


@pytest.mark.parametrize(("kind", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_value(kind, reason):
    for parse in (parsed, parsed_record):
        with pytest.raises(SchemaValidationError, match=reason) as refused:
            parse(record(kind))
        assert " at fields[0].type" in str(refused.value)


@pytest.mark.parametrize("levels", [MOST_LEVELS, 450, 5_000, 100_000])
def test_a_schema_that_nests_without_an_end(levels):
    for parse in (parsed, parsed_record):
        with pytest.raises(SchemaValidationError, match="levels inside each other"):
            parse(record(nested(levels)))


def test_a_default_that_nests_without_an_end():
    default = []
    for _ in range(5_000):
        default = [default]
    with pytest.raises(SchemaValidationError, match="levels inside each other"):
        parsed(record("int", default=default))


def test_as_many_levels_as_a_schema_may_have():
    check_values(nested(MOST_LEVELS - 1), "it")


def test_a_schema_of_too_many_values():
    with pytest.raises(SchemaValidationError, match="more than 200,000 values"):
        parsed(record("int", default=[0] * MOST_PARTS))


@pytest.mark.parametrize("schema", [None, 7, True, 1.5, b"int"], ids=repr)
def test_what_is_no_schema_at_all(schema):
    with pytest.raises(SchemaValidationError):
        parsed(schema)


def test_what_a_default_or_an_unknown_attribute_holds_is_no_schema():
    """It may have keys that mean something elsewhere."""
    inner = {"size": "large", "type": 7, "symbols": None, "name": []}
    full = parsed(record({"type": "map", "values": "string"}, default={}, about=inner))
    assert full["fields"][0]["about"] == inner


def test_a_value_in_an_error_is_cut_and_escaped():
    with pytest.raises(SchemaValidationError) as refused:
        parsed(record({"type": "fixed", "name": "F", "size": "\x1b[31m" + "x" * 10_000}))
    assert len(str(refused.value)) < 300
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_fixed_of_any_size_up_to_the_limit(size):
    assert parsed(record({"type": "fixed", "name": "F", "size": size}))
