"""What single types keep, and what they refuse."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from io import BytesIO
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import fastavro
import pytest
from pydantic import (
    Base64Bytes,
    Base64Str,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    NaiveDatetime,
    create_model,
)

from flowodm.avro import wire
from flowodm.avro.codec import Codec
from flowodm.avro.parsing import parsed_record
from flowodm.avro.resolution import fit
from flowodm.exceptions import DeserializationError, SchemaValidationError, SerializationError

Money = Annotated[Decimal, Field(max_digits=6, decimal_places=2)]


class Colour(StrEnum):
    RED = "red"
    NEARLY_BLUE = "nearly-blue"


class Letter(Enum):
    A = "A"
    B = "B"


class Grade(Enum):
    A = "A"


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Access(IntFlag):
    READ = 1
    WRITE = 2


class Priority(IntEnum):
    LOW = 1


class Cat(BaseModel):
    name: str
    lives: int = 9


class Dog(BaseModel):
    name: str
    lives: int = 1


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    friends: frozenset[str] = frozenset({"x"})


class Chain(BaseModel):
    value: int
    next: Chain | Cat | None = None


class Registry:
    """Knows one schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def schema(self, _schema_id: int) -> Any:
        return self._schema


def holder(annotation: Any, **config: Any) -> type[BaseModel]:
    return create_model("Holder", __config__=ConfigDict(**config), value=(annotation, ...))


def sent(annotation: Any, value: Any, **config: Any) -> Any:
    model = holder(annotation, **config)
    codec = Codec(model, subject="s")
    return codec.decode(codec.encode(model(value=value))).value


def unchecked(annotation: Any, value: Any) -> bytes:
    """The value's bytes without Pydantic's checks before."""
    model = holder(annotation)
    return Codec(model, subject="s").encode(model.model_construct(value=value))


def read_from(schema: dict[str, Any], values: dict[str, Any], model: type[BaseModel]) -> Any:
    """What another program wrote by its own schema, as the model."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), values)
    codec: Any = Codec(model, subject="s", registry=Registry(schema))  # type: ignore[arg-type]
    codec.load_schema(1)
    return codec.decode(wire.header(1) + stream.getvalue())


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Money, Decimal("-1234.56")),
        (Money, Decimal("0.01")),
        (Money | None, Decimal(0)),
        (Money | float, Decimal("1.5")),
        (Money | float, 1.5),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (timedelta | str, timedelta(0)),
        (NaiveDatetime, datetime(2024, 2, 29, 23, 59, 59, 999_999)),  # noqa: DTZ001 - the point
        (set[UUID], {uuid4(), uuid4()}),
        (frozenset[date], frozenset({date(1969, 12, 31)})),
        (tuple[int, str, datetime], (1, "x", datetime(2024, 1, 1, tzinfo=UTC))),
        (tuple[str, ...] | None, ("x", "y")),
        (tuple[Money, tuple[int, str]], (Decimal("1.50"), (1, "x"))),
        (dict[str, tuple[int, str]], {"a": (1, "x"), "b": (2, "y")}),
        (list[int] | tuple[str, int], ("x", 1)),
        (list[int] | tuple[str, int], [1]),
        (tuple[Cat, Dog], (Cat(name="a"), Dog(name="b"))),
        (Colour, Colour.NEARLY_BLUE),
        (Colour | str, Colour.RED),
        (Colour | str, "nearly-blue"),
        (Colour | bytes, Colour.NEARLY_BLUE),
        (list[Colour | None], [Colour.RED, None]),
        (Letter | str, Letter.A),
        (bytes | Letter, Letter.A),
        (Letter | Grade, Grade.A),
        (Size, Size.LARGE),
        (Size | str, Size.LARGE),
        (Priority | None, Priority.LOW),
        (Access, Access.READ | Access.WRITE),
        (Literal["a", 1] | None, 1),
        (Literal["a", 1] | None, "a"),
        (Literal[Colour.RED], Colour.RED),
        (Cat | Dog, Dog(name="x")),
        (Cat | Dog, Cat(name="x", lives=1)),
        (Cat | Strict, Strict(name="x")),
        (Cat | dict[str, int], {"lives": 3}),
        (Cat | dict[str, str], Cat(name="x")),
        (dict[str, Cat | Dog], {"a": Cat(name="x"), "b": Dog(name="x")}),
        (bool | int | float | None, 1),
        (bool | int | float | None, 1.0),
        (bool | int | float | None, True),
    ],
)
def test_a_value_keeps_its_type(annotation, value):
    got = sent(annotation, value)
    assert got == value
    assert type(got) is type(value)


def test_a_recursive_union_of_models_keeps_them_apart():
    codec = Codec(Chain, subject="s")
    chain = Chain(value=1, next=Chain(value=2, next=Cat(name="x")))
    assert codec.decode(codec.encode(chain)) == chain


def test_such_a_union_is_read_from_a_wider_writer_too():
    pet = {"type": "record", "fields": [{"name": "tail", "type": "int"}]}
    pet["fields"] += [{"name": "name", "type": "string"}]
    branches = [{**pet, "name": "Dog"}, {**pet, "name": "Cat"}]
    schema = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": branches}]}
    for name, cls in {"Dog": Dog, "Cat": Cat}.items():
        message = read_from(
            schema, {"value": (name, {"tail": 1, "name": "x"})}, holder(Cat | Dog | None)
        )
        assert message.value == cls(name="x")


def test_a_recursive_root_of_such_a_union_may_be_wider_as_well():
    schema = {
        "type": "record",
        "name": "Chain",
        "fields": [
            {"name": "note", "type": "string"},
            {"name": "value", "type": "long"},
            {"name": "next", "type": ["null", "Chain"]},
        ],
    }
    values = {"note": "", "value": 1, "next": {"note": "", "value": 2, "next": None}}
    assert read_from(schema, values, Chain) == Chain(value=1, next=Chain(value=2))


def test_a_broken_rule_inside_a_union_names_the_field():
    class Limited(BaseModel):
        number: int = Field(lt=5)

    data = unchecked(Limited | Cat, Limited.model_construct(number=7))
    with pytest.raises(DeserializationError) as caught:
        Codec(holder(Limited | Cat), subject="s").decode(data)
    assert caught.value.field == "number"


def test_a_tuple_is_read_whatever_the_order_of_its_writers_fields():
    fields = [{"name": "item_1", "type": "string"}, {"name": "item_0", "type": "int"}]
    pair = {"type": "record", "name": "value", "fields": fields}
    schema = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": pair}]}
    values = {"value": {"item_0": 1, "item_1": "x"}}
    assert read_from(schema, values, holder(tuple[int, str])).value == (1, "x")


@pytest.mark.parametrize("config", [{"strict": True}, {"frozen": True}, {"extra": "allow"}])
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (set[int], {1}),
        (tuple[int, ...], (1, 2)),
        (tuple[int, str], (1, "x")),
        (Colour, Colour.RED),
        (Size, Size.SMALL),
        (UUID, uuid4()),
        (Money, Decimal("1.00")),
        (time, time(1, 2, 3, 4)),
    ],
)
def test_the_models_own_rules_do_not_get_in_the_way_of_reading(annotation, value, config):
    assert sent(annotation, value, **config) == value


@pytest.mark.parametrize(("annotation", "value"), [(Colour | None, "red"), (Size, 2)])
def test_a_model_that_keeps_the_values_of_enums_can_be_written(annotation, value):
    assert sent(annotation, value, use_enum_values=True) == value


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        (Money, Decimal("1.234"), "more than 2 decimal places"),
        (Money, Decimal(10_000), "more than 6 digits"),
        (Money, Decimal("1E+999999999"), "more than 6 digits"),
        (Money, Decimal("1E-999999999"), "more than 2 decimal places"),
        (Money, Decimal("NaN"), "cannot be NaN"),
        (Money, Decimal("Infinity"), "or infinite"),
        (Money, 1.5, "must be a Decimal, got float"),
        (timedelta, timedelta.max, "does not fit into Avro's long"),
        (timedelta, 5, "must be a timedelta, got int"),
        (NaiveDatetime, datetime(2024, 1, 1, tzinfo=UTC), "has no time zone"),
        (date, datetime(2024, 1, 1, tzinfo=UTC), "must be a date, got datetime"),
        (time, time(1, tzinfo=UTC), "has no time zone"),
        (tuple[int, str], (1, "x", 2), "must be a tuple of 2 items, got a tuple of 3"),
        (tuple[int, str], [1, "x"], "must be a tuple of 2 items, got list"),
        (Colour, "green", "one of the symbols"),
        (Size, "SMALL", "must be an int, got str"),
        (Cat | Dog, 5, "must be one of .*, got int"),
    ],
)
def test_what_does_not_fit_is_refused_and_never_rounded(annotation, value, reason):
    with pytest.raises(SerializationError, match=reason) as caught:
        unchecked(annotation, value)
    assert "Holder.value" in str(caught.value)


def test_the_place_in_a_tuple_is_named():
    with pytest.raises(SerializationError, match=r"^Holder\.value\.1\.lives cannot"):
        unchecked(tuple[int, Cat], (1, Cat.model_construct(name="x", lives="nine")))


def test_a_decimal_is_read_exactly_however_long_it_is():
    number = Decimal("12345678901234567890123456789012345678.12")
    long = {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2}
    schema = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": long}]}
    wide = holder(Annotated[Decimal, Field(max_digits=40, decimal_places=2)])
    assert read_from(schema, {"value": number}, wide).value == number
    with pytest.raises(DeserializationError) as caught:
        read_from(schema, {"value": number}, holder(Money))
    assert caught.value.field == "value"


def test_a_decimal_longer_than_its_writer_promised_is_not_rounded():
    short = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
    schema = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": short}]}
    wide = holder(Annotated[Decimal, Field(max_digits=40, decimal_places=2)])
    codec: Any = Codec(wide, subject="s", registry=Registry(schema))  # type: ignore[arg-type]
    codec.load_schema(1)
    data = wire.header(1) + bytes([8]) + (12_345_678).to_bytes(4, "big")
    assert codec.decode(data).value == Decimal("123456.78")


@pytest.mark.parametrize("places", ["1", "1.5", "-1.25", "0.125"])
def test_a_decimal_of_another_scale_is_read_where_it_fits(places):
    milli = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 3}
    schema = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": milli}]}
    wide = holder(Annotated[Decimal, Field(max_digits=9, decimal_places=4)])
    assert read_from(schema, {"value": Decimal(places)}, wide).value == Decimal(places)


def test_fields_that_the_class_does_not_declare_are_not_lost_in_silence():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

        name: str

    codec = Codec(Open, subject="s")
    assert codec.decode(codec.encode(Open(name="x"))) == Open(name="x")
    with pytest.raises(SerializationError, match="Open has fields that the schema lacks: colour"):
        codec.encode(Open.model_validate({"name": "x", "colour": "red"}))


class Empty(BaseModel):
    """A record that takes no bytes."""


@pytest.mark.parametrize("annotation", [list[None], list[Empty], dict[str, set[None]]])
def test_an_array_that_a_few_bytes_could_blow_up_is_refused(annotation):
    with pytest.raises(SchemaValidationError, match="any number of them"):
        Codec(holder(annotation), subject="s")


def test_what_is_written_is_what_others_read():
    class Everything(BaseModel):
        money: Money
        wait: timedelta
        colour: Colour
        size: Size
        pair: tuple[int, str]

    codec = Codec(Everything, subject="s")
    message = Everything(
        money=Decimal("1.5"),
        wait=timedelta(seconds=1),
        colour=Colour.NEARLY_BLUE,
        size=Size.LARGE,
        pair=(1, "x"),
    )
    schema = fastavro.parse_schema(codec.schema)
    values = fastavro.schemaless_reader(BytesIO(codec.encode(message)), schema, None)
    assert values == codec.to_dict(message)
    assert values == {
        "money": Decimal("1.50"),
        "wait": 1_000_000,
        "colour": "NEARLY_BLUE",
        "size": 2,
        "pair": {"item_0": 1, "item_1": "x"},
    }


@pytest.mark.parametrize("annotation", [Base64Bytes, Base64Str | None, list[Json[list[int]]]])
def test_a_type_that_is_decoded_in_validation_is_refused_since_reading_would_do_it_twice(
    annotation,
):
    with pytest.raises(SchemaValidationError, match=r"Holder\.value.*would decode the value again"):
        Codec(holder(annotation), subject="s")


def test_two_kinds_of_tuples_in_a_union_are_refused_since_they_are_written_alike():
    with pytest.raises(SchemaValidationError, match="'tuple' only once"):
        Codec(holder(tuple[int, str] | tuple[str, int]), subject="s")


@pytest.mark.parametrize("annotation", [Colour, Colour | None, dict[str, list[Colour]]])
def test_a_model_that_holds_an_enums_values_is_written_though_they_are_no_symbols(annotation):
    value: Any = "nearly-blue" if annotation != dict[str, list[Colour]] else {"a": ["nearly-blue"]}
    assert sent(annotation, value, use_enum_values=True) == value


@pytest.mark.parametrize(("unit", "value"), [("millis", 1_500), ("micros", 1_500_000)])
def test_a_local_timestamp_of_others_is_an_instant_in_utc_where_the_model_wants_one(unit, value):
    schema = {"type": "long", "logicalType": f"local-timestamp-{unit}"}
    record = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": schema}]}
    wanted = datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert read_from(record, {"value": value}, holder(datetime)).value == wanted


@pytest.mark.parametrize(
    ("base", "mark", "annotation"),
    [
        ("long", "timestamp-nanos", datetime),
        ("long", "timestamp-nanos", datetime | None),
        ("int", "date", datetime),
        ("long", "nanoseconds", timedelta),
        ("long", "timestamp-micros", NaiveDatetime),
    ],
)
def test_a_number_with_another_mark_than_the_models_is_refused_and_never_guessed(
    base, mark, annotation
):
    schema = {"type": base, "logicalType": mark}
    record = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": schema}]}
    with pytest.raises(DeserializationError, match=f"{mark} cannot be read as"):
        read_from(record, {"value": 5}, holder(annotation))


def test_a_model_with_milliseconds_reads_what_has_microseconds():
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    own = {"type": "record", "name": "Holder", "fields": [{"name": "value", "type": millis}]}
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    written, _ = fit(parsed_record(own | {"fields": [{"name": "value", "type": micros}]}), own)
    assert written["fields"][0]["type"] == micros
