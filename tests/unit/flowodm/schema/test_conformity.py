"""A model beside an .avsc file: what fits, what does not, and what only fits for some values."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from flowodm import (
    DeserializationError,
    FlowBaseModel,
    SchemaValidationError,
    SerializationError,
    generate_model_from_schema,
    validate_against_file,
)
from flowodm.avro.codec import Codec


class Colour(Enum):
    RED = "RED"
    BLUE = "BLUE"


class StrColour(StrEnum):
    RED = "RED"
    BLUE = "BLUE"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Address(BaseModel):
    street: str


class Node(FlowBaseModel):
    id: str
    children: list[Node] = Field(default_factory=list)


def logical(base: str, mark: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": mark, **more}


def record(**fields: Any) -> dict[str, Any]:
    """A record's schema; a field given as a pair has a default."""
    made = []
    for name, kind in fields.items():
        given, *default = kind if isinstance(kind, tuple) else (kind,)
        made.append({"name": name, "type": given, **({"default": default[0]} if default else {})})
    return {"type": "record", "name": "Order", "fields": made}


@pytest.fixture
def compare(tmp_path):
    def compare(schema: Any, base: type[FlowBaseModel] = FlowBaseModel, **fields: Any):
        path = tmp_path / "order.avsc"
        path.write_text(json.dumps(schema), encoding="utf-8")
        return validate_against_file(create_model("Order", __base__=base, **fields), path)

    return compare


ENUM = {"type": "enum", "name": "Hue", "symbols": ["RED", "BLUE"]}
HOME = {"type": "record", "name": "Home", "fields": [{"name": "street", "type": "string"}]}
MONEY = Annotated[Decimal, Field(max_digits=9, decimal_places=2)]
FITTING: list[tuple[Any, Any]] = [
    (str, "string"),
    (int, "long"),
    (int, "int"),
    (float, "double"),
    (bool, "boolean"),
    (bytes, "bytes"),
    (str | None, ["null", "string"]),
    (str | int | None, ["string", "null", "int"]),
    (list[str], {"type": "array", "items": "string"}),
    (dict[str, int], {"type": "map", "values": "long"}),
    (Colour, ENUM),
    (Address, HOME),
    (Address | None, ["null", HOME]),
    (datetime, logical("long", "timestamp-micros")),
    (date, logical("int", "date")),
    (UUID, logical("string", "uuid")),
    (MONEY, logical("bytes", "decimal", precision=9, scale=2)),
]


@pytest.mark.parametrize(("annotation", "kind"), FITTING)
def test_a_model_fits_the_schema_of_its_own_types(compare, annotation, kind):
    result = compare(record(value=kind), value=(annotation, ...))
    assert (result.is_valid, result.errors, result.warnings) == (True, [], [])


PARTLY: list[tuple[Any, Any, str]] = [
    (str, logical("string", "uuid"), "only strings that are UUIDs"),
    (str, ENUM, "only the schema's symbols"),
    (StrColour, "string", "not symbols of the model"),
    (bytes, {"type": "fixed", "name": "Hash", "size": 4}, "bytes of the schema's length"),
    (float, "float", "keeps 7 digits"),
    (str, ["null", "string"], "allows null, the model does not"),
    (str | None, "string", "allows None, the schema does not"),
    (datetime, logical("long", "timestamp-millis"), "microseconds are lost"),
    (MONEY, logical("bytes", "decimal", precision=12, scale=2), "12 digits"),
]


@pytest.mark.parametrize(("annotation", "kind", "warning"), PARTLY)
def test_what_fits_for_some_values_only_is_a_warning(compare, annotation, kind, warning):
    result = compare(record(value=kind), value=(annotation, ...))
    assert result.is_valid
    assert [w for w in result.warnings if w.startswith("value: ") and warning in w]


WRONG: list[tuple[Any, Any, str]] = [
    (int, "string", "the model has long, the schema string"),
    (int, "double", "the model has long, the schema double"),
    (UUID, "string", "the model has uuid (string)"),
    (datetime, "long", "the model has timestamp (long)"),
    (int, logical("long", "timestamp-micros"), "schema timestamp (long)"),
    (float, "long", "double"),
    (str, {"type": "array", "items": "string"}, "array"),
    (list[int], {"type": "array", "items": "string"}, "[]"),
    (dict[str, int], {"type": "map", "values": "string"}, "{}"),
    (Colour, {**ENUM, "symbols": ["RED"]}, "the schema lacks the symbol BLUE"),
    (Colour, {**ENUM, "symbols": ["RED", "BLUE", "GREEN"]}, "the model lacks the symbol GREEN"),
    (Address, {**HOME, "fields": []}, "street: the schema lacks"),
    (str | int | bool, ["string", "boolean"], "the schema has no long"),
    (str | None, ["null", "string", "int"], "the model has no int"),
    (MONEY, logical("bytes", "decimal", precision=9, scale=3), "decimal places"),
    (MONEY, logical("bytes", "decimal", precision=4, scale=2), "4 and 2"),
]


@pytest.mark.parametrize(("annotation", "kind", "error"), WRONG)
def test_what_does_not_fit_is_an_error_that_names_the_place(compare, annotation, kind, error):
    result = compare(record(value=kind), value=(annotation, ...))
    assert not result.is_valid
    assert len(result.errors) == 1
    assert result.errors[0].startswith("value")
    assert error in result.errors[0]


def test_a_field_that_the_model_lacks_is_an_error_unless_it_is_optional(compare):
    schema = record(id="string", needed="int", defaulted=("int", 0), nullable=["null", "int"])

    result = compare(schema, id=(str, ...))

    assert [error.split(":")[0] for error in result.errors] == ["needed"]
    assert [warning.split(":")[0] for warning in result.warnings] == ["defaulted", "nullable"]


def test_a_field_that_the_schema_lacks_is_an_error_default_or_not(compare):
    result = compare(record(id="string"), id=(str, ...), more=(int, ...), other=(int, 3))
    assert [error.split(":")[0] for error in result.errors] == ["more", "other"]


def test_a_field_is_found_by_its_alias(compare):
    class ByAlias(FlowBaseModel):
        model_config = ConfigDict(populate_by_name=True)

        kind: str = Field(alias="class")

    assert compare(record(**{"class": "string"}), ByAlias).is_valid


def test_a_record_may_hold_itself(compare):
    children = {"type": "array", "items": "Order"}
    assert compare(record(id="string", children=(children, [])), Node).is_valid
    assert not compare(record(id="int", children=(children, [])), Node).is_valid


def test_a_generated_model_fits_its_own_schema_without_a_warning(compare):
    schema = record(
        at=logical("long", "timestamp-millis"),
        hash={"type": "fixed", "name": "Hash", "size": 4},
        number="int",
        maybe=["null", "float"],
    )
    model = generate_model_from_schema(schema, topic="orders")

    result = compare(schema, model)

    assert (result.is_valid, result.errors, result.warnings) == (True, [], [])


def test_a_fixed_type_has_its_length(compare):
    def of(size):
        return record(hash={"type": "fixed", "name": "Hash", "size": size})

    model = generate_model_from_schema(of(4), topic="orders")

    assert compare(of(5), model).errors == ["hash: the model has 4 bytes, the schema 5"]
    assert "other lengths" in compare(record(hash="bytes"), model).warnings[0]


def test_a_file_that_is_not_there_or_no_schema_is_an_error_of_its_own(tmp_path):
    path = tmp_path / "order.avsc"
    with pytest.raises(FileNotFoundError):
        validate_against_file(Node, path)
    path.write_text("{")
    with pytest.raises(json.JSONDecodeError, match=r"order\.avsc"):
        validate_against_file(Node, path)
    for text in ('["null"]', "3", '{"type": "nope"}', '{"type": "record", "name": "R-1"}'):
        path.write_text(text)
        with pytest.raises(SchemaValidationError, match=r"order\.avsc"):
            validate_against_file(Node, path)


SIDE_BY_SIDE: list[tuple[Any, Any, Any]] = [
    (str, "x", "string"),
    (str, "RED", ENUM),
    (str, str(UUID(int=1)), logical("string", "uuid")),
    (str | None, str(UUID(int=1)), ["null", logical("string", "uuid")]),
    (str | None, "x", ["null", "string"]),
    (str | int | None, 3, ["string", "null", "int"]),
    (int, 3, "int"),
    (int, 3, "double"),
    (int | float, 3, "double"),
    (int | float, 3, ["long", "double"]),
    (float, 0.5, "float"),
    (float, 0.5, "long"),
    (float, 0.5, ["long", "double"]),
    (datetime, datetime(2024, 1, 1, tzinfo=UTC), "int"),
    (bytes, b"abcd", {"type": "fixed", "name": "Hash", "size": 4}),
    (UUID, UUID(int=1), logical("string", "uuid")),
    (UUID, UUID(int=1), logical("fixed", "uuid", name="Id", size=16)),
    (UUID, UUID(int=1), "string"),
    (MONEY, Decimal("1.20"), logical("bytes", "decimal", precision=9, scale=2)),
    (MONEY, Decimal("1.20"), logical("fixed", "decimal", precision=9, scale=2, name="D", size=8)),
    (Literal["RED"], "RED", "string"),
    (Literal["RED", "BLUE"], "RED", ENUM),
    (Colour, Colour.RED, ENUM),
    (Colour, Colour.RED, "string"),
    (StrColour, StrColour.RED, ENUM),
    (StrColour, StrColour.RED, "string"),
    (Size, Size.LARGE, "int"),
    (Size, Size.LARGE, {**ENUM, "symbols": ["SMALL", "LARGE"]}),
    (Address, Address(street="x"), HOME),
    (Address | None, Address(street="x"), ["null", HOME]),
    (list[Address], [Address(street="x")], {"type": "array", "items": HOME}),
    (set[str], {"x"}, {"type": "array", "items": "string"}),
    (tuple[int, str], (1, "x"), {"type": "array", "items": ["long", "string"]}),
    (dict[str, int], {"x": 1}, {"type": "map", "values": "int"}),
    (timedelta, timedelta(1), "long"),
    (datetime, datetime(2024, 1, 1, tzinfo=UTC), logical("long", "timestamp-millis")),
    (datetime, datetime(2024, 1, 1, tzinfo=UTC), logical("long", "local-timestamp-micros")),
    (date, date(2024, 1, 1), logical("int", "date")),
]


@pytest.mark.parametrize(("annotation", "value", "kind"), SIDE_BY_SIDE)
def test_what_is_valid_is_written_and_read_with_the_schema_and_what_is_not_is_not(
    tmp_path, annotation, value, kind
):
    schema = record(value=kind, optional=["null", "int"], defaulted=("int", 3))
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(schema), encoding="utf-8")
    model = create_model("Order", __base__=FlowBaseModel, value=(annotation, ...))
    message = model(value=value)

    try:
        codec = Codec(model, subject="", schema_path=path)
        works = codec.decode(codec.encode(message)) == message
    except (SchemaValidationError, SerializationError, DeserializationError):
        works = False

    assert validate_against_file(model, path).is_valid == works


def test_a_text_that_is_no_uuid_is_not_written_as_one(tmp_path):
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(record(value=logical("string", "uuid"))), encoding="utf-8")
    model = create_model("Order", value=(str, ...))

    with pytest.raises(SerializationError, match="value"):
        Codec(model, subject="", schema_path=path).encode(model(value="secret"))
