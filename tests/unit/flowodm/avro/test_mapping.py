"""From a model class to its Avro schema."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar
from uuid import UUID

import fastavro
import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    FutureDate,
    NaiveDatetime,
    PastDatetime,
    RootModel,
    SecretStr,
    condecimal,
    create_model,
)
from typing_extensions import TypeAliasType

from flowodm.avro.mapping import record_schema
from flowodm.exceptions import SchemaValidationError

T = TypeVar("T")
OrderId = NewType("OrderId", str)
Loose = TypeAliasType("Loose", int | str)
Endless = TypeAliasType("Endless", "int | list[Endless]")

Money = Annotated[Decimal, Field(max_digits=9, decimal_places=2)]
Price = TypeAliasType("Price", Money)

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
MILLI = {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 3}
TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}


class Colour(Enum):
    RED = "RED"
    BLUE = "BLUE"


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Priority(IntEnum):
    LOW = 1
    HIGH = 2


class State(StrEnum):
    NEW = "new"
    IN_PROGRESS = "in-progress"


class Rate(Enum):
    HALF = 0.5
    MIXED = "mixed"


class Huge(Enum):
    TOO_LONG = 2**63


class Memberless(Enum):
    pass


class Nameless(Enum):
    größe = "in progress"  # noqa: PLC2401 - the point of it


class Clashing(Enum):
    A = "B"
    B = "not legal"


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
        (Literal[1, 2], "long"),
        (Literal[True], "boolean"),
        (Literal["a", 1] | OrderId, ["string", "long"]),
        (Literal["a", 1] | None, ["null", "string", "long"]),
        (Literal[Size.SMALL], "long"),
        (Size, "long"),
        (Priority, "long"),
        (Money, MONEY),
        (Money | None, ["null", MONEY]),
        (Annotated[Price, Field(gt=0)], MONEY),
        (condecimal(max_digits=9, decimal_places=2), MONEY),
        (Annotated[Decimal, Field(max_digits=1, decimal_places=3)], MILLI),
        (list[Money], {"type": "array", "items": MONEY}),
        (timedelta, {"type": "long", "logicalType": "timedelta-micros"}),
        (NaiveDatetime, {"type": "long", "logicalType": "local-timestamp-micros"}),
        (PastDatetime, TIMESTAMP),
        (FutureDate, {"type": "int", "logicalType": "date"}),
        (tuple[float, float], {"type": "array", "items": "double"}),
    ],
)
def test_a_type_has_its_avro_form(annotation, expected):
    assert expected is None or schema_of(annotation)["type"] == expected


def test_a_decimal_takes_its_size_from_the_field():
    whole = schema_of(Decimal, Field(max_digits=9, decimal_places=2))
    optional = schema_of(Decimal | None, Field(None, max_digits=9, decimal_places=2))
    assert (whole["type"], optional["type"]) == (MONEY, ["null", MONEY])


def test_a_decimal_without_a_size_is_an_error_that_says_how_to_give_one():
    with pytest.raises(SchemaValidationError, match=r"max_digits=12, decimal_places=2"):
        schema_of(Decimal)


def test_a_symbol_is_a_members_value_or_where_that_is_no_avro_name_its_own_name():
    assert schema_of(State)["type"]["symbols"] == ["new", "IN_PROGRESS"]
    assert schema_of(Rate)["type"]["symbols"] == ["HALF", "mixed"]


def test_a_tuple_of_several_types_is_a_record_in_its_models_namespace():
    kind = schema_of(tuple[int, datetime, str | None])["type"]
    assert (kind["name"], kind["logicalType"]) == ("value", "tuple")
    assert kind["namespace"].endswith(".Holder")
    assert kind["fields"] == [
        {"name": "item_0", "type": "long"},
        {"name": "item_1", "type": TIMESTAMP},
        {"name": "item_2", "type": ["null", "string"]},
    ]


def test_two_tuples_of_one_field_have_names_of_their_own():
    array = schema_of(list[tuple[int, tuple[str, int]]])["type"]
    inner = array["items"]["fields"][1]["type"]
    assert (array["items"]["name"], inner["name"]) == ("value", "value_2")


def test_a_tuple_of_one_model_is_an_array():
    assert schema_of(tuple[Address, Address])["type"]["type"] == "array"


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
        (State, State.IN_PROGRESS, None, "IN_PROGRESS"),
        (Size, Size.LARGE, "long", 2),
        (Priority | None, Priority.HIGH, ["long", "null"], 2),
        (Literal["a", "b"] | None, "a", ["string", "null"], "a"),
        (Literal["a", 1] | None, 1, ["long", "null", "string"], 1),
        (OrderId | None, "x", ["string", "null"], "x"),
        (list[int] | None, [1], [{"type": "array", "items": "long"}, "null"], [1]),
        (Money, Decimal("1.5"), MONEY, "\u0000\u0096"),
        (Money, Decimal(-1), MONEY, "\u009c"),
        (timedelta, timedelta(seconds=1), None, 1_000_000),
        (tuple[int, str], (1, "x"), None, {"item_0": 1, "item_1": "x"}),
        (tuple[int, int], (1, 2), {"type": "array", "items": "long"}, [1, 2]),
        (frozenset[int], frozenset({3}), {"type": "array", "items": "long"}, [3]),
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
        (Money, Decimal("1.234")),
        (Money, Decimal("NaN")),
        (tuple[int, str], (1, "x", 2)),
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


def test_each_of_an_aliass_choices_is_an_avro_alias():
    field = schema_of(str, Field(validation_alias=AliasChoices("id", "order-id", "order_id")))
    assert field["aliases"] == ["id", "order_id"]


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
        Huge,
        Memberless,
        Nameless,
        Clashing,
        Literal[2**63],
        Decimal | None,
        Annotated[Decimal, Field(max_digits=5)],
        Annotated[Decimal, Field(decimal_places=2)],
        tuple[()],
        tuple[int, Any],
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
