"""From a model class to its Avro schema."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar
from uuid import UUID

import fastavro
import pytest
from pydantic import BaseModel, Field, RootModel, SecretStr, create_model
from typing_extensions import TypeAliasType

from flowodm.avro.mapping import record_schema
from flowodm.exceptions import SchemaValidationError

T = TypeVar("T")
OrderId = NewType("OrderId", str)
Loose = TypeAliasType("Loose", int | str)
Endless = TypeAliasType("Endless", "int | list[Endless]")

TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}


class Colour(Enum):
    RED = "RED"
    BLUE = "BLUE"


class Size(Enum):
    SMALL = 1


class Hyphenated(Enum):
    IN_PROGRESS = "in-progress"


class Address(BaseModel):
    street: str
    zip: str | None = None


class Node(BaseModel):
    value: int
    children: list[Node] = []
    parent: Node | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]


def schema_of(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """The mapped field of a model with that one field."""
    model = create_model("Holder", value=(annotation, default))
    schema = record_schema(model)
    fastavro.parse_schema(schema)
    return schema["fields"][0]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, "string"),
        (int, "long"),
        (float, "double"),
        (bool, "boolean"),
        (bytes, "bytes"),
        (None, "null"),
        (datetime, TIMESTAMP),
        (date, {"type": "int", "logicalType": "date"}),
        (time, {"type": "long", "logicalType": "time-micros"}),
        (UUID, {"type": "string", "logicalType": "uuid"}),
        (str | None, ["null", "string"]),
        (Optional[int], ["null", "long"]),  # noqa: UP045 - the other spelling
        (int | str | None, ["null", "long", "string"]),
        (list[int], {"type": "array", "items": "long"}),
        (set[str], {"type": "array", "items": "string"}),
        (frozenset[str], {"type": "array", "items": "string"}),
        (tuple[int, ...], {"type": "array", "items": "long"}),
        (dict[str, float], {"type": "map", "values": "double"}),
        (list[dict[str, list[int | None]]] | None, None),
        (Annotated[int, Field(gt=0)], "long"),
        (OrderId, "string"),
        (Loose, ["long", "string"]),
        (Literal["a", "b"], "string"),
        (Literal["a"] | OrderId, "string"),
    ],
)
def test_a_type_has_its_avro_form(annotation, expected):
    assert expected is None or schema_of(annotation)["type"] == expected


def test_a_record_is_named_after_class_and_module():
    schema = record_schema(Address)
    assert (schema["namespace"], schema["name"]) == (__name__.replace("-", "_"), "Address")


def test_a_class_inside_another_has_it_in_its_namespace():
    class Outer(BaseModel):
        class Item(BaseModel):
            sku: str

        item: Item

    nested = record_schema(Outer)["fields"][0]["type"]
    assert nested["namespace"].endswith(".Outer")
    assert nested["name"] == "Item"


def test_a_generic_models_name_is_a_legal_avro_name():
    schema = record_schema(Page[int])
    assert schema["name"] == "Page_int_"
    fastavro.parse_schema(schema)


def test_the_same_nested_type_is_defined_once_and_then_referred_to():
    class Parcel(BaseModel):
        sender: Address
        receiver: Address
        stops: list[Address]
        colour: Colour
        other_colour: Colour | None

    sender, receiver, stops, colour, other = record_schema(Parcel)["fields"]
    name = f"{sender['type']['namespace']}.Address"
    assert receiver["type"] == name
    assert stops["type"] == {"type": "array", "items": name}
    assert other["type"] == ["null", f"{colour['type']['namespace']}.Colour"]
    fastavro.parse_schema(record_schema(Parcel))


def test_a_model_may_refer_to_itself():
    schema = record_schema(Node)
    name = f"{schema['namespace']}.Node"
    assert schema["fields"][1]["type"] == {"type": "array", "items": name}
    assert schema["fields"][2]["type"] == ["null", name]
    fastavro.parse_schema(schema)


def test_two_classes_of_one_name_are_an_error():
    def local() -> type[BaseModel]:
        class Address(BaseModel):
            other: int

        return Address

    model = create_model("Twice", a=(Address, ...), b=(local(), ...))
    with pytest.raises(SchemaValidationError, match=r"Twice\.b: two different classes.*Address"):
        record_schema(model)


@pytest.mark.parametrize(
    ("annotation", "default", "expected_type", "expected_default"),
    [
        (str, "x", "string", "x"),
        (int, 7, "long", 7),
        (float, 1, "double", 1.0),
        (bool, False, "boolean", False),
        (bytes, b"\xff\x00", "bytes", "\u00ff\u0000"),
        (str | None, None, ["null", "string"], None),
        (str | None, "x", ["string", "null"], "x"),
        (float | None, 0, ["double", "null"], 0.0),
        (int | str, "x", ["string", "long"], "x"),
        (int | bool, True, ["boolean", "long"], True),
        (list[int], [1, 2], {"type": "array", "items": "long"}, [1, 2]),
        (dict[str, int], {"a": 1}, {"type": "map", "values": "long"}, {"a": 1}),
        (datetime, datetime(2024, 1, 1, tzinfo=UTC), TIMESTAMP, 1_704_067_200_000_000),
        (datetime, datetime(2024, 1, 1), TIMESTAMP, 1_704_067_200_000_000),  # noqa: DTZ001
        (list[Address | None], [None], None, [None]),
        (Address, Address(street="x"), None, {"street": "x", "zip": None}),
        (Colour, Colour.BLUE, None, "BLUE"),
    ],
)
def test_a_default_is_written_for_the_first_branch(
    annotation, default, expected_type, expected_default
):
    field = schema_of(annotation, default)
    assert expected_type is None or field["type"] == expected_type
    assert field["default"] == expected_default
    assert type(field["default"]) is type(expected_default)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (float, math.nan),
        (float, math.inf),
        (int, 2**63),
        (int, None),
        (UUID, None),
        (Address, Address(street="x", zip="y")),  # zip's first branch is null
        (datetime, Field(default_factory=lambda: datetime.now(UTC))),
    ],
)
def test_a_default_without_avro_form_is_left_to_pydantic(annotation, default):
    assert "default" not in schema_of(annotation, default)


def test_an_empty_factory_is_a_default():
    assert schema_of(list[int], Field(default_factory=list))["default"] == []
    assert schema_of(dict[str, int], Field(default_factory=dict))["default"] == {}


def test_the_description_becomes_the_doc():
    assert schema_of(str, Field(description="who"))["doc"] == "who"


def test_a_pydantic_alias_is_an_avro_alias_and_the_name_stays():
    field = schema_of(str, Field(alias="orderId"))
    assert (field["name"], field["aliases"]) == ("value", ["orderId"])


def test_an_alias_that_avro_cannot_hold_is_left_out():
    assert "aliases" not in schema_of(str, Field(alias="order-id"))


def test_an_excluded_field_is_not_written_and_needs_a_default():
    class Login(BaseModel):
        user: str
        token: str = Field(default="", exclude=True)

    assert [field["name"] for field in record_schema(Login)["fields"]] == ["user"]

    class Broken(BaseModel):
        token: str = Field(exclude=True)

    with pytest.raises(SchemaValidationError, match=r"Broken\.token.*needs a default"):
        record_schema(Broken)


@pytest.mark.parametrize(
    "annotation",
    [
        Any,
        object,
        Decimal,
        complex,
        SecretStr,
        list,
        dict,
        dict[int, str],
        tuple[int, str],
        Size,
        Hyphenated,
        Literal[1, 2],
        RootModel[int],
        Endless,
        list[Any],
        dict[str, object] | None,
        type[int],
    ],
)
def test_what_has_no_avro_form_is_an_error_that_names_class_and_field(annotation):
    model = create_model(
        "Holder", value=(annotation, ...), __config__={"arbitrary_types_allowed": True}
    )
    with pytest.raises(SchemaValidationError, match=r"^Holder\.value.*has no Avro form"):
        record_schema(model)


@pytest.mark.parametrize("annotation", [str | UUID, int | datetime, list[int] | set[str]])
def test_two_types_that_avro_writes_alike_cannot_share_a_union(annotation):
    with pytest.raises(SchemaValidationError, match=r"Holder\.value: an Avro union"):
        schema_of(annotation)


def test_a_field_that_is_no_avro_name_is_an_error():
    model = create_model("Holder", größe=(int, ...))
    with pytest.raises(SchemaValidationError, match=r"Holder\.größe: not a legal Avro name"):
        record_schema(model)


def test_a_type_that_is_not_defined_yet_is_an_error():
    model = create_model("Holder", value=("Unheard", ...))
    with pytest.raises(SchemaValidationError, match=r"Unheard is not defined"):
        record_schema(model)


def test_the_error_in_a_nested_model_names_the_nested_field():
    class Line(BaseModel):
        price: Decimal

    class Order(BaseModel):
        lines: list[Line]

    with pytest.raises(SchemaValidationError, match=r"^Line\.price: Decimal"):
        record_schema(Order)
