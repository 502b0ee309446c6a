"""Compiled readers: they read what fastavro reads, and leave to it what it is to refuse."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from io import BytesIO
from typing import Annotated, Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, NaiveDatetime, create_model

from flowodm.avro.build_hooks import classes_to_build, for_reading
from flowodm.avro.codec import Codec
from flowodm.avro.compiled_reader import compile_reader
from flowodm.avro.mapping import mapped
from flowodm.avro.parsing import parsed_record
from flowodm.avro.reader import RecordReaders
from support.generated_models import messages

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Colour(Enum):
    RED = "RED"
    NEARLY = "not-quite"


class Inner(BaseModel):
    number: int
    at: datetime | None = None


class Other(BaseModel):
    number: int


class Tree(BaseModel):
    value: int
    branches: list[Tree] = []


class LeftToFastavroError(Exception):
    """The compiled reader did not read it."""


class Both:
    """A model's compiled reader, and fastavro's reading of the same bytes."""

    def __init__(self, model: type[BaseModel]) -> None:
        derived, classes = mapped(model)
        schema = parsed_record(derived)
        build = classes_to_build(schema, classes)
        readers = RecordReaders(model, schema, build, by_alias=False)
        marked = for_reading(schema, build)
        self._validate = model.__pydantic_validator__.validate_python
        self._marked = marked
        self.by_fastavro = readers._by_fastavro(
            fastavro.parse_schema(marked), None, dropped=(), start=0
        )
        self.reader = readers.reader(schema, 0)

    def compiled_alone(self, data: bytes) -> Any:
        def otherwise(_data: bytes) -> Any:
            raise LeftToFastavroError

        return compile_reader(self._marked, 0, (), self._validate, otherwise, by_alias=False)(data)


def outcome(read: Any, data: bytes) -> str:
    try:
        return repr(read(data))
    except Exception:  # noqa: BLE001 - which one it is, the codec's tests say
        return "refused"


def long(number: int) -> bytes:
    """An Avro long."""
    number = (number << 1) ^ (number >> 63)
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes(groups) + bytes([number])


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "ü"),
        (str, "x" * 200),
        (bytes, b"\xff"),
        (int, -(2**63)),
        (int, 2**63 - 1),
        (float, 1.5),
        (bool, True),
        (None, None),
        (datetime, EPOCH),
        (datetime, datetime(2024, 2, 29, 1, 2, 3, 4, UTC)),
        (NaiveDatetime, datetime(1812, 9, 14)),  # noqa: DTZ001 - the point of the type
        (date, date(1969, 12, 31)),
        (time, time(23, 59, 59, 999_999)),
        (timedelta, timedelta(days=-3, microseconds=1)),
        (Annotated[Decimal, Field(max_digits=6, decimal_places=2)], Decimal("-12.50")),
        (UUID, UUID(int=2**127)),
        (bytes | UUID, UUID(int=1)),
        (Colour, Colour.NEARLY),
        (Inner, Inner(number=1, at=EPOCH)),
        (Inner | Other | None, Other(number=1)),
        (list[Inner], [Inner(number=1), Inner(number=2)]),
        (list[dict[str, list[int | None]]], [{"a": [1, None]}, {}]),
        (tuple[int, str], (1, "x")),
    ],
)
def test_a_type_is_read_without_fastavro(annotation, value):
    model = create_model("Holder", value=(annotation, ...), after=(int, ...))
    message = model(value=value, after=7)
    data = Codec(model, subject="s").encode(message)
    assert Both(model).compiled_alone(data) == message


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", -5),
        ("float", 0.5),
        ({"type": "long", "logicalType": "timestamp-millis"}, EPOCH - timedelta(milliseconds=1)),
        (
            {"type": "long", "logicalType": "local-timestamp-millis"},
            datetime(1812, 9, 14, 0, 0, 0, 7_000),  # noqa: DTZ001 - the point of the type
        ),
        ({"type": "int", "logicalType": "time-millis"}, time(23, 59, 59, 999_000)),
        ({"type": "string", "avro.java.string": "String"}, "x"),
    ],
)
def test_what_only_others_write_is_read_without_fastavro(kind, value):
    schema = {"type": "record", "name": "Theirs", "fields": [{"name": "value", "type": kind}]}
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), {"value": value})
    seen: dict[str, Any] = {}

    def validate(values: dict[str, Any], **_rules: Any) -> None:
        seen.update(values)

    compile_reader(schema, 0, (), validate, seen.get, by_alias=False)(stream.getvalue())
    assert seen == {"value": value}


@pytest.mark.parametrize("micros", [sign * 2**power for sign in (1, -1) for power in range(48, 56)])
@pytest.mark.parametrize("beside", [-1, 0])
def test_an_instant_of_any_length_is_read(micros, beside):
    model = create_model("Holder", at=(datetime, ...))
    data = long(micros + beside)
    read = Both(model).compiled_alone(data)
    assert read.at == EPOCH + timedelta(microseconds=micros + beside)


@given(messages(), st.data())
def test_whatever_the_bytes_fastavro_makes_the_same_of_them(message, data):
    both = Both(type(message))
    encoded = bytearray(Codec(type(message), subject="s").encode(message))
    assert outcome(both.reader, bytes(encoded)) == outcome(both.by_fastavro, bytes(encoded))
    for _ in range(data.draw(st.integers(1, 3)) if encoded else 0):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    for spoilt in (bytes(encoded), cut, bytes(encoded) + b"\x00"):
        assert outcome(both.reader, spoilt) == outcome(both.by_fastavro, spoilt)


class Mixed(BaseModel):
    text: str
    data: bytes
    number: int
    numbers: list[int]
    named: dict[str, bool]
    colour: Colour | None
    at: datetime | None
    day: date


@given(st.binary(max_size=30))
@example(b"\x01abc")  # a text of a length below zero
@example(b"\x00\x00" + b"\xff" * 12)  # a number that never ends
@example(b"\x00\x00" + b"\xff" * 9 + b"\x7f")  # one of 70 bits
@example(b"\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff\x7f")  # more items than bytes
@example(b"\x00\x00\x00\x00\x02\x00\x07\x00\x00\x00\x00")  # a truth that is neither 0 nor 1
def test_garbage_is_garbage_to_both(data):
    both = Both(Mixed)
    assert outcome(both.reader, data) == outcome(both.by_fastavro, data)


@pytest.mark.parametrize(
    "number", [b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01"]
)
def test_a_number_of_more_than_64_bits_is_left_to_fastavro(number):
    both = Both(create_model("Holder", value=(int, ...)))
    if number == b"\xff" * 9 + b"\x01":
        assert both.compiled_alone(number).value == -(2**63)
    else:
        with pytest.raises(LeftToFastavroError):
            both.compiled_alone(number)


def test_blocks_that_tell_their_size_are_left_to_fastavro():
    model = create_model("Holder", numbers=(list[int], ...))
    both = Both(model)
    data = long(-2) + long(2) + long(5) + long(6) + long(0)
    assert both.reader(data).numbers == [5, 6]
    with pytest.raises(LeftToFastavroError):
        both.compiled_alone(data)


def test_a_recursive_model_is_left_to_fastavro():
    tree = Tree(value=1, branches=[Tree(value=2)])
    both = Both(Tree)
    data = Codec(Tree, subject="s").encode(tree)
    assert both.reader(data) == tree
    with pytest.raises(LeftToFastavroError):
        both.compiled_alone(data)


def test_a_model_that_would_fill_pages_is_left_to_fastavro():
    model: Any = Inner
    for depth in range(8):
        model = create_model(f"Level{depth}", **{f"f{n}": (model, ...) for n in range(4)})
    with pytest.raises(LeftToFastavroError):
        Both(model).compiled_alone(b"")


def test_deep_nesting_is_left_to_fastavro():
    annotation: Any = int
    for _ in range(15):
        annotation = list[annotation]
    model = create_model("Holder", value=(annotation, ...))
    with pytest.raises(LeftToFastavroError):
        Both(model).compiled_alone(b"")


def test_a_dropped_field_is_read_past():
    schema = parsed_record(mapped(Mixed).schema)
    seen: dict[str, Any] = {}

    def validate(values: dict[str, Any], **_rules: Any) -> None:
        seen.update(values)

    read = compile_reader(schema, 0, ("text", "day"), validate, seen.get, by_alias=False)
    message = Mixed(
        text="x", data=b"y", number=1, numbers=[], named={}, colour=None, at=None, day=EPOCH.date()
    )
    read(Codec(Mixed, subject="s").encode(message))
    assert seen.keys() == Mixed.model_fields.keys() - {"text", "day"}
    assert seen["data"] == b"y"
