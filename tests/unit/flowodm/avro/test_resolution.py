"""Reading what was written with another schema."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from io import BytesIO
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import fastavro
import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from flowodm.avro import wire
from flowodm.avro.codec import Codec
from flowodm.avro.mapping import record_schema
from flowodm.avro.resolution import fit
from flowodm.avro.shapes import only_drops, same_shape
from flowodm.exceptions import DeserializationError

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
CENTS = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def record(name: str, /, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields.items()],
    }


def read(model: type[BaseModel], schema: Any, values: Any) -> Any:
    """Write with fastavro and ``schema``, read as ``model``."""

    class Registry:
        def schema(self, _schema_id: int) -> Any:
            return schema

    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), values)
    codec: Any = Codec(model, subject="s", registry=Registry())  # type: ignore[arg-type]
    codec.load_schema(1)
    return codec.decode(wire.header(1) + stream.getvalue())


def read_value(annotation: Any, kind: Any, value: Any, default: Any = ...) -> Any:
    model = create_model("Holder", value=(annotation, default))
    return read(model, record("Holder", value=kind), {"value": value}).value


class Address(BaseModel):
    street: str
    zip: str | None = None


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    home: Address | None = None
    born: datetime | None = None


@pytest.mark.parametrize(
    ("annotation", "kind", "value", "expected"),
    [
        (int, "int", 3, 3),
        (float, "int", 3, 3.0),
        (float, "long", 3, 3.0),
        (float, "float", 0.5, 0.5),
        (bytes, "string", "é", "é".encode()),
        (str, "bytes", b"x", "x"),
        (int | None, "int", 3, 3),
        (int, ["null", "long"], 3, 3),
        (float | None, ["null", "int"], 3, 3.0),
        (str | int, ["int", "string"], "x", "x"),
        (list[float], {"type": "array", "items": "int"}, [1, 2], [1.0, 2.0]),
        (dict[str, float], {"type": "map", "values": "float"}, {"a": 0.5}, {"a": 0.5}),
        (datetime, MILLIS, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (datetime, "long", 1_000_005, datetime(1970, 1, 1, 0, 0, 1, 5, UTC)),
        (int, MICROS, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1_000_000),
        (int | None, ["null", MILLIS], datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1_000),
        (list[datetime], {"type": "array", "items": "long"}, [7], None),
        (date, {"type": "int", "logicalType": "date"}, date(2024, 1, 1), date(2024, 1, 1)),
        (str, {"type": "string", "avro.java.string": "String"}, "x", "x"),
    ],
)
def test_a_value_is_promoted(annotation, kind, value, expected):
    got = read_value(annotation, kind, value)
    if expected is None:
        expected = [datetime(1970, 1, 1, 0, 0, 0, 7, UTC)]
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "kind", "value"),
    [
        (int, "string", "x"),
        (int, "double", 1.5),
        (str, "int", 1),
        (int, ["null", "int"], None),
        (datetime, "int", 5),
        (UUID, "string", "no uuid"),
    ],
)
def test_what_does_not_resolve_is_a_bad_record(annotation, kind, value):
    with pytest.raises(DeserializationError):
        read_value(annotation, kind, value)


@pytest.mark.parametrize(
    ("annotation", "kind", "value"),
    [
        (float | int, ["null", "long"], 3),
        (float | int, "int", 3),
        (float | int | str, ["string", "long", "double"], 3),
        (float | int | str, ["string", "long", "double"], 3.0),
        (str | bytes, ["bytes", "null"], b"x"),
        (bytes | str, "string", "x"),
        (list[float | int], {"type": "array", "items": ["int", "double"]}, [1, 1.0]),
    ],
)
def test_what_a_union_has_is_not_promoted_to_what_stands_before_it(annotation, kind, value):
    got = read_value(annotation, kind, value)
    assert repr(got) == repr(value)


def test_a_dropped_field_is_passed_over():
    schema = record("Person", age="int", name="string", tags={"type": "array", "items": "string"})
    assert read(Person, schema, {"age": 3, "name": "x", "tags": ["a"]}) == Person(name="x")


def test_an_added_field_gets_its_default_with_its_python_type():
    secret = b"\xff\x00"

    class Grown(BaseModel):
        name: str
        data: bytes = secret
        since: datetime = datetime(2024, 1, 1, tzinfo=UTC)
        token: UUID = Field(default_factory=uuid4)
        inner: Address = Address(street="none")

    first = read(Grown, record("Grown", name="string"), {"name": "x"})
    second = read(Grown, record("Grown", name="string"), {"name": "x"})
    assert (first.data, first.since, first.inner) == (
        secret,
        Grown(name="").since,
        Address(street="none"),
    )
    assert first.token != second.token


def test_an_added_field_without_default_is_an_error_that_names_it():
    class Grown(BaseModel):
        name: str
        inner: list[Address]

    schema = record(
        "Grown", name="string", inner={"type": "array", "items": record("Address", zip="string")}
    )
    with pytest.raises(DeserializationError) as caught:
        read(Grown, schema, {"name": "x", "inner": [{"zip": "1"}]})
    assert caught.value.field == "inner.0.street"


def test_fields_added_and_dropped_deep_inside_resolve_too():
    old = record("Address", country="string", street="string")
    schema = record("Person", name="string", home=["null", old])
    person = read(Person, schema, {"name": "x", "home": {"country": "NP", "street": "s"}})
    assert person == Person(name="x", home=Address(street="s"))


def test_a_type_defined_in_a_field_that_the_writer_lacks_is_still_known():
    class Twice(BaseModel):
        first: Address | None = None
        second: Address

    schema = record("Twice", second=record("Address", street="string"))
    assert read(Twice, schema, {"second": {"street": "s"}}) == Twice(second=Address(street="s"))


def test_a_recursive_model_resolves_at_every_depth():
    schema = {
        "type": "record",
        "name": "Node",
        "fields": [
            {"name": "extra", "type": "string"},
            {"name": "value", "type": "int"},
            {"name": "next", "type": ["null", "Node"]},
        ],
    }
    values = {"extra": "a", "value": 1, "next": {"extra": "b", "value": 2, "next": None}}
    assert read(Node, schema, values) == Node(value=1, next=Node(value=2))


def test_fields_that_a_recursive_model_lacks_are_dropped_at_every_depth():
    own = record_schema(Moment)
    schema = {**own, "fields": [{"name": "extra", "type": "string"}, *own["fields"]]}
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    inner = {"extra": "b", "at": noon, "next": None}
    moment = read(Moment, schema, {"extra": "a", "at": noon, "next": inner})
    assert moment == Moment(at=noon, next=Moment(at=noon))


class Moment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at: datetime
    next: Moment | None = None


class Node(BaseModel):
    value: float
    next: Node | None = None
    note: str = "new"


def test_records_of_other_names_match_where_only_one_can_be_meant():
    old = record("com.shop.Adresse", street="string")
    schema = record("com.shop.Kunde", name="string", home=["null", old])
    person = read(Person, schema, {"name": "x", "home": {"street": "s"}})
    assert person.home == Address(street="s")


def test_records_of_a_union_match_by_name():
    class Cat(BaseModel):
        lives: int

    class Dog(BaseModel):
        lives: int
        tricks: list[str] = []

    class Owner(BaseModel):
        pet: Cat | Dog

    kinds = [record("Dog", lives="int"), record("Cat", lives="int", colour="string")]
    schema = record("Owner", pet=kinds)
    assert read(Owner, schema, {"pet": ("Dog", {"lives": 1})}).pet in (Cat(lives=1), Dog(lives=1))
    assert read(Owner, schema, {"pet": ("Cat", {"lives": 9, "colour": "x"})}).pet == Cat(lives=9)


def test_an_enum_of_another_name_and_order_matches():
    from enum import Enum  # noqa: PLC0415 - the class below is this test's alone

    class Colour(Enum):
        RED = "RED"
        BLUE = "BLUE"

    kind = {"type": "enum", "name": "Farbe", "symbols": ["BLUE", "RED"]}
    assert read_value(Colour, kind, "BLUE") is Colour.BLUE
    with pytest.raises(DeserializationError):
        read_value(Colour, {**kind, "symbols": ["GREEN"]}, "GREEN")


class State(StrEnum):
    NEW = "new"
    IN_TRANSIT = "in-transit"


SIX_BYTES = {"type": "fixed", "name": "Six", "size": 6}
UUID_BYTES = {"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"}
STATES = {"type": "enum", "name": "Status", "symbols": ["new", "old"]}
SIX_DIGITS = {**SIX_BYTES, "logicalType": "decimal", "precision": 6, "scale": 2}
Money = Annotated[Decimal, Field(max_digits=6, decimal_places=2)]


@pytest.mark.parametrize(
    ("annotation", "kind", "value", "expected"),
    [
        (State, "string", "in-transit", State.IN_TRANSIT),
        (State | None, ["null", "string"], "new", State.NEW),
        (list[State], {"type": "array", "items": "string"}, ["new"], [State.NEW]),
        (dict[str, State], {"type": "map", "values": "string"}, {"a": "new"}, {"a": State.NEW}),
        (str, STATES, "old", "old"),
        (str | None, ["null", STATES], "old", "old"),
        (Literal["new", "old"], STATES, "new", "new"),
        (bytes, SIX_BYTES, b"sixsix", b"sixsix"),
        (Money, SIX_DIGITS, Decimal("12.34"), Decimal("12.34")),
        (Money | None, ["null", SIX_DIGITS], Decimal(-1), Decimal(-1)),
        (UUID, UUID_BYTES, UUID(int=7).bytes, UUID(int=7)),
    ],
)
def test_what_pydantic_can_judge_is_read_from_whoever_wrote_it(annotation, kind, value, expected):
    got = read_value(annotation, kind, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "kind", "value"),
    [
        (State, "string", "unheard of"),
        (Literal["new"], STATES, "old"),
        (UUID, SIX_BYTES, b"sixsix"),
        (bytes, SIX_DIGITS, Decimal(1)),
        (State, "long", 1),
    ],
)
def test_what_pydantic_refuses_is_a_bad_record(annotation, kind, value):
    with pytest.raises(DeserializationError):
        read_value(annotation, kind, value)


def test_one_enum_of_the_writers_may_be_read_as_several_texts():
    class Two(BaseModel):
        first: str
        second: list[str]

    schema = record("Two", first=STATES, second={"type": "array", "items": "Status"})
    assert read(Two, schema, {"first": "new", "second": ["old"]}) == Two(
        first="new", second=["old"]
    )


def test_a_writer_with_other_order_and_more_fields_needs_no_resolving():
    wide = record("Person", extra=MICROS, born=["null", MICROS], name="string")
    wide = fastavro.parse_schema(
        {**wide, "name": record_schema(Person)["namespace"] + ".Person"}, {}
    )
    own = fastavro.parse_schema(record_schema(Person), {})
    assert only_drops(*fit(wide, own)) == ("extra",)
    values = {"extra": 5, "born": datetime(2024, 1, 1, tzinfo=UTC), "name": "x"}
    assert read(Person, wide, values) == Person(name="x", born=values["born"])


def test_nested_records_of_another_namespace_need_no_resolving_either():
    kept = record("com.shop.Address", street="string", zip=["null", "string"])
    wide = fastavro.parse_schema(record("com.shop.Person", age="int", home=["null", kept]), {})
    assert only_drops(*fit(wide, fastavro.parse_schema(record_schema(Person), {}))) == ("age",)
    values = {"age": 3, "home": {"street": "s", "zip": "1"}}

    class Home(BaseModel):
        model_config = ConfigDict(extra="forbid")

        home: Address | None

    assert read(Home, {**wide, "name": "Home"}, values).home == Address(street="s", zip="1")


@pytest.mark.parametrize(
    "change",
    [record("Person", name="bytes"), record("Person", name="string", born=["null", "string"])],
)
def test_another_type_of_a_kept_field_needs_resolving(change):
    own = fastavro.parse_schema(record_schema(Person), {})
    assert only_drops(*fit(fastavro.parse_schema(change, {}), own)) is None


class Inventory(BaseModel):
    count: int
    weight: float
    seen: datetime
    opens: time
    price: Annotated[Decimal, Field(max_digits=9, decimal_places=4)]
    note: int | str | None


@pytest.mark.parametrize(
    ("field", "kind", "value"),
    [
        ("count", "int", 3),
        ("weight", "float", 0.5),
        ("seen", MILLIS, datetime(2024, 1, 1, 0, 0, 0, 5_000, tzinfo=UTC)),
        ("opens", {"type": "int", "logicalType": "time-millis"}, time(9, 30, 0, 5_000)),
        ("price", {**CENTS, "precision": 20}, Decimal("1.25")),
        ("note", ["string", "null", "int"], 7),
        ("note", ["string", "null", "int"], "seven"),
    ],
)
def test_what_is_the_same_in_python_needs_no_resolving(field, kind, value):
    values = {
        "count": 1,
        "weight": 1.0,
        "seen": datetime(2024, 1, 1, tzinfo=UTC),
        "opens": time(9),
        "price": Decimal("0.1234"),
        "note": None,
    }
    own = record_schema(Inventory)
    fields = [{**one, "type": kind} if one["name"] == field else one for one in own["fields"]]
    wide = {**own, "fields": [*fields, {"name": "extra", "type": "string"}]}
    parsed = [fastavro.parse_schema(schema, {}) for schema in (wide, own)]
    assert only_drops(*fit(*parsed)) == ("extra",)
    assert read(Inventory, wide, {**values, field: value, "extra": "x"}) == Inventory(
        **{**values, field: value}
    )


@pytest.mark.parametrize("kind", ["long", ["null", "float"], {"type": "array", "items": "float"}])
def test_a_type_of_another_python_type_does_need_it(kind):
    own = record_schema(Inventory)
    fields = [{**one, "type": kind} if one["name"] == "weight" else one for one in own["fields"]]
    parsed = [fastavro.parse_schema(schema, {}) for schema in ({**own, "fields": fields}, own)]
    assert only_drops(*fit(*parsed)) is None


@pytest.mark.parametrize(("larger", "smaller"), [("long", "int"), ("double", "float")])
def test_a_number_is_never_read_as_a_smaller_type(larger, smaller):
    pair = [record("Holder", value=larger), record("Holder", value=smaller)]
    assert only_drops(*fit(*[fastavro.parse_schema(one, {}) for one in pair])) is None
    assert only_drops(*fit(*[fastavro.parse_schema(one, {}) for one in pair[::-1]])) == ()


def test_fitting_changes_neither_schema():
    writer = fastavro.parse_schema(record("Person", name="string"), {})
    reader = fastavro.parse_schema(record_schema(Person), {})
    before = repr((writer, reader))
    fit(writer, reader)
    assert repr((writer, reader)) == before


def test_documentation_defaults_and_namespaces_are_no_difference():
    own = record_schema(Person)
    other = {**own, "namespace": "com.other", "doc": "x"}
    other["fields"] = [{k: v for k, v in f.items() if k != "default"} for f in own["fields"]]
    parsed = [fastavro.parse_schema(schema, {}) for schema in (own, other)]
    assert same_shape(*parsed)


@pytest.mark.parametrize(
    "change",
    [
        record("Person", name="string"),
        record("Person", name="bytes", home="null", born="null"),
        record("Other", name="string"),
    ],
)
def test_another_shape_is_a_difference(change):
    own = fastavro.parse_schema(record_schema(Person), {})
    assert not same_shape(fastavro.parse_schema(change, {}), own)


def test_two_types_of_one_short_name_are_not_confused():
    def pair(first: str, second: str) -> Any:
        inner = [record(f"{first}.Item", a="int"), record(f"{second}.Item", a="string")]
        schema = record("Top", x=inner[0], y=inner[1], z=f"{first}.Item")
        return fastavro.parse_schema(schema, {})

    assert same_shape(pair("a", "b"), pair("a", "b"))
    swapped = pair("a", "b")
    swapped["fields"][2]["type"] = "b.Item"
    assert not same_shape(pair("a", "b"), swapped)


@pytest.mark.parametrize("kind", ["string", "bytes", {"type": "array", "items": "string"}])
def test_a_record_that_ends_inside_a_field_that_nobody_wants_is_a_bad_one(kind):
    """Nor does anything after its end go unnoticed."""

    class Grown(BaseModel):
        n: float

    schema: Any = fastavro.parse_schema(record("Grown", n="int", unwanted=kind))

    class Registry:
        def schema(self, _schema_id: int) -> Any:
            return record("Grown", n="int", unwanted=kind)

    stream = BytesIO()
    value = {"string": "hello", "bytes": b"hello"}.get(str(kind), ["hello", "you"])
    fastavro.schemaless_writer(stream, schema, {"n": 1, "unwanted": value})
    codec: Any = Codec(Grown, subject="s", registry=Registry())  # type: ignore[arg-type]
    codec.load_schema(1)
    data = wire.header(1) + stream.getvalue()
    assert codec.decode(data) == Grown(n=1)
    for wrong in (data + b"\0", *(data[:-cut] for cut in range(1, len(data) - 5))):
        with pytest.raises(DeserializationError):
            codec.decode(wrong)
