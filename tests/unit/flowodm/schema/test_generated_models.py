"""Models made from schemas: names, types, defaults, and bytes that are those of the schema."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from io import BytesIO
from typing import Annotated, Any, Literal
from uuid import UUID

import fastavro
import pytest
from pydantic import BaseModel, Field, NaiveDatetime, ValidationError

from flowodm import FlowBaseModel
from flowodm.avro.codec import codec_for
from flowodm.avro.mapping import record_schema
from flowodm.exceptions import SchemaValidationError
from flowodm.schema import generate_model_from_schema, generate_model_source

ADDRESS = {
    "type": "record",
    "name": "Address",
    "fields": [
        {"name": "street", "type": "string"},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
    ],
}
PAIR = {
    "type": "record",
    "name": "pair",
    "logicalType": "tuple",
    "fields": [{"name": "item_0", "type": "int"}, {"name": "item_1", "type": "int"}],
}
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}


def record(*fields: Any, name: str = "Order", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "shop", "fields": list(fields), **more}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def logical(base: str, mark: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": mark, **more}


def generated(*fields: Any, **more: Any) -> Any:
    return generate_model_from_schema(record(*fields, **more), topic="orders")


def written_by_fastavro(schema: Any, values: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), values)
    return stream.getvalue()


def test_the_model_has_its_topic_group_and_the_name_of_its_record():
    model = generate_model_from_schema(record(), topic="orders", consumer_group="packers")

    assert model.__name__ == "Order"
    assert (model.Settings.topic, model.Settings.consumer_group) == ("orders", "packers")


def test_the_class_can_have_another_name():
    model = generate_model_from_schema(record(), topic="orders", class_name="OrderEvent")
    assert model.__name__ == "OrderEvent"


@pytest.mark.parametrize("name", ["Order Event", "_Order", "class", "id", "1", "Settings"])
def test_a_name_that_no_class_can_have_is_refused(name):
    with pytest.raises(SchemaValidationError, match="choose another"):
        generate_model_from_schema(record(field("id", "int")), topic="t", class_name=name)


TYPES: list[tuple[Any, Any, Any]] = [
    ("null", None, None),
    ("boolean", bool, True),
    ("int", int, -5),
    ("long", int, 2**40),
    ("float", float, 0.5),
    ("double", float, 1.1),
    ("string", str, "é"),
    ("bytes", bytes, b"\x00\xff"),
    (logical("int", "date"), date, date(2024, 2, 29)),
    (logical("int", "time-millis"), time, time(1, 2, 3, 4_000)),
    (logical("long", "time-micros"), time, time(1, 2, 3, 4)),
    (logical("long", "timestamp-millis"), datetime, datetime(2024, 1, 1, 1, 1, 1, 1000, UTC)),
    (logical("long", "timestamp-micros"), datetime, datetime(2024, 1, 1, 1, 1, 1, 1, UTC)),
    (
        logical("long", "local-timestamp-micros"),
        NaiveDatetime,
        datetime(2024, 1, 1, 1, 1, 1, 1),  # noqa: DTZ001 - a local timestamp has no zone
    ),
    (logical("string", "uuid"), UUID, UUID(int=7)),
    (logical("fixed", "uuid", name="Id", size=16), UUID, UUID(int=7)),
    (logical("long", "timedelta-micros"), timedelta, timedelta(days=-1, microseconds=1)),
    (logical("long", "unheard-of"), int, 7),
    (logical("string", "date"), str, "x"),
    (
        logical("bytes", "decimal", precision=9, scale=2),
        Annotated[Decimal, Field(max_digits=9, decimal_places=2)],
        Decimal("-12.34"),
    ),
    ({"type": "array", "items": "int"}, list[int], [1, 2]),
    (
        {"type": "map", "values": {"type": "array", "items": "string"}},
        dict[str, list[str]],
        {"a": ["b"]},
    ),
    (["null", "string"], str | None, "x"),
    (["null", "string"], str | None, None),
    (["string", "null", "int"], str | int | None, 3),
    (["int", "long"], int, 3),
    ({"type": "string", "avro.java.string": "String"}, str, "x"),
]


@pytest.mark.parametrize(("kind", "annotation", "value"), TYPES)
def test_each_type_has_its_annotation_and_comes_back_equal(kind, annotation, value):
    model = generated(field("value", kind))

    held = model.model_fields["value"]
    wanted = type("Wanted", (BaseModel,), {"__annotations__": {"value": annotation}})
    assert held.annotation == wanted.model_fields["value"].annotation
    assert repr(held.metadata) == repr(wanted.model_fields["value"].metadata)
    codec = codec_for(model)
    assert codec.decode(codec.encode(model(value=value))).value == value


def test_records_enums_and_fixed_come_back_as_their_classes():
    model = generated(
        field("home", ADDRESS),
        field("other", ["null", "Address"]),
        field("colour", COLOUR),
        field("hash", {"type": "fixed", "name": "MD5", "size": 2}),
        field("any", ["Colour", "Address", "MD5", "null"]),
    )
    home = {"street": "x", "tags": ["y"]}
    for anything in ("RED", home, b"ab", None):
        message = model(home=home, other=home, colour="BLUE", hash=b"ab", any=anything)
        codec = codec_for(model)
        assert codec.decode(codec.encode(message)) == message
    assert type(message.home) is type(message.other)
    assert message.colour.value == "BLUE"
    with pytest.raises(ValidationError, match="at least 2 bytes"):
        model(home=home, other=None, colour="RED", hash=b"a", any=None)


def test_what_fastavro_writes_with_the_schema_is_what_the_model_writes():
    fields = [
        field("id", "int"),
        field("at", logical("long", "timestamp-millis")),
        field("home", ["null", ADDRESS]),
        field("hash", {"type": "fixed", "name": "MD5", "size": 2}),
        field("number", "float"),
    ]
    values = {
        "id": 3,
        "at": datetime(2024, 1, 1, tzinfo=UTC),
        "home": {"street": "s", "tags": ["t"]},
        "hash": b"ab",
        "number": 0.5,
    }
    codec = codec_for(generated(*fields))

    data = written_by_fastavro(record(*fields), values)

    assert codec.encode(codec.decode(data)) == data
    assert codec.decode(data) == codec.model.model_validate(values)
    assert codec.schema == record(*fields)


def test_a_record_may_hold_itself():
    model = generated(
        field("id", "int"),
        field("children", {"type": "array", "items": "Order"}, default=[]),
        field("parent", ["null", "Order"], default=None),
    )

    message = model(id=1, children=[model(id=2, parent=model(id=3))])

    codec = codec_for(model)
    assert codec.decode(codec.encode(message)) == message


def test_records_may_hold_each_other():
    inner = {
        "type": "record",
        "name": "Inner",
        "fields": [field("outer", ["null", "Order"], default=None)],
    }
    model = generated(field("inner", ["null", inner], default=None))

    message = model(inner={"outer": {"inner": {}}})

    codec = codec_for(model)
    assert codec.decode(codec.encode(message)) == message
    assert isinstance(message.inner.outer, model)


DEFAULTS: list[tuple[Any, Any, Any]] = [
    ("int", 3, 3),
    ("double", 1, 1.0),
    ("double", float("inf"), float("inf")),
    (logical("long", "local-timestamp-millis"), 0, datetime(1970, 1, 1)),  # noqa: DTZ001 - local
    (PAIR, {"item_0": 1, "item_1": 2}, (1, 2)),
    ("string", 'a"b\\', 'a"b\\'),
    ("bytes", "\u00ff\u0000", b"\xff\x00"),
    (logical("string", "date"), "x", "x"),
    (["null", "string"], None, None),
    (["string", "null"], None, None),
    (["null", "string"], "x", "x"),
    (logical("int", "date"), 1, date(1970, 1, 2)),
    (logical("long", "timestamp-millis"), 1, datetime(1970, 1, 1, 0, 0, 0, 1000, UTC)),
    (logical("long", "timestamp-micros"), -1, datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)),
    (logical("long", "time-micros"), 1, time(0, 0, 0, 1)),
    (logical("int", "time-millis"), 1, time(0, 0, 0, 1000)),
    (logical("long", "timedelta-micros"), 1, timedelta(microseconds=1)),
    (logical("string", "uuid"), str(UUID(int=7)), UUID(int=7)),
    (logical("fixed", "uuid", name="Id", size=16), "\0" * 15 + "\7", UUID(int=7)),
    (logical("bytes", "decimal", precision=4, scale=2), "\u00ff\u0085", Decimal("-1.23")),
    ({"type": "array", "items": "int"}, [1], [1]),
    ({"type": "map", "values": "double"}, {"a'\"": 1}, {"a'\"": 1.0}),
]


@pytest.mark.parametrize(("kind", "default", "value"), DEFAULTS)
def test_a_default_has_the_type_of_its_field(kind, default, value):
    held = generated(field("value", kind, default=default))().value
    assert (held, type(held)) == (value, type(value))


def test_defaults_may_be_records_and_enums_within_others():
    model = generated(
        field("home", ADDRESS, default={"street": "x"}),
        field("homes", {"type": "map", "values": "Address"}, default={"a": {"street": "y"}}),
        field("colour", COLOUR, default="BLUE"),
        field("colours", {"type": "array", "items": "Colour"}, default=["RED"]),
    )

    first, second = model(), model()

    assert first.home.model_dump() == {"street": "x", "tags": []}
    assert first.homes["a"].street == "y"
    assert first.colour.value == "BLUE"
    assert [colour.value for colour in first.colours] == ["RED"]
    first.home.tags.append("only the first")
    assert second.home.tags == []


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ({"type": "array", "items": "int"}, ["x"]),
        ({"type": "array", "items": ["null", ADDRESS]}, [[]]),
        ({"type": "array", "items": {"type": "array", "items": "int"}}, [{}]),
        ({"type": "array", "items": {"type": "map", "values": "int"}}, [[]]),
        ({"type": "array", "items": COLOUR}, ["GREEN"]),
        (PAIR, {"item_0": 1}),
        ("bytes", "\u0100"),
        (ADDRESS, {}),
        (logical("string", "uuid"), "x"),
        (logical("int", "time-millis"), -1),
    ],
)
def test_a_default_of_another_type_is_an_error_that_names_the_field(kind, default):
    with pytest.raises(SchemaValidationError, match=r"Order\.amount: the default"):
        generated(field("amount", kind, default=default))


ODD_NAMES = [
    "class",
    "_id",
    "__",
    "_1",
    "json",
    "model_validate_x",
    "self",
    "int",
    "Settings",
    "None",
]


def test_names_that_python_or_pydantic_do_not_allow_become_aliases():
    model = generated(*[field(name, "int") for name in ODD_NAMES], field("id", "int"))

    aliases = {name: held.alias for name, held in model.model_fields.items() if held.alias}
    assert aliases == {
        "class_": "class",
        "id_": "_id",
        "field_": "__",
        "field_1": "_1",
        "json_": "json",
        "field_model_validate_x": "model_validate_x",
        "Settings_": "Settings",
        "None_": "None",
    }
    values = dict.fromkeys([*ODD_NAMES, "id"], 1)
    codec = codec_for(model)
    data = written_by_fastavro(codec.schema, values)
    assert codec.encode(codec.decode(data)) == data
    assert codec.encode(model(**values)) == data


def test_a_field_may_have_the_name_of_a_type_that_others_use():
    model = generated(
        field("date", logical("int", "date"), default=0),
        field("int", "int", default=1),
        field("str", "string", default=""),
        field("other", ["null", logical("int", "date")], default=None),
        field("more", {"type": "map", "values": "int"}, default={}),
        field("Colour", COLOUR, default="RED"),
        field("colour", ["null", "Colour"], default=None),
        field("Field", "string", default="", doc="with a doc"),
    )

    message = model(other=date(2024, 1, 1), more={"a": 2}, colour="BLUE")

    codec = codec_for(model)
    assert codec.decode(codec.encode(message)) == message


TYPE_NAMES = [
    "str",
    "Field",
    "list",
    "datetime",
    "Annotated",
    "BaseModel",
    "None",
    "Settings",
    "__x",
]


def test_a_record_may_have_the_name_of_a_type_that_others_use():
    body = [field("a", "string"), field("b", logical("long", "timestamp-micros"))]
    records = [record(*body, name=name) for name in TYPE_NAMES]
    model = generated(
        *[field(f"f{number}", inner) for number, inner in enumerate(records)],
        field("more", {"type": "array", "items": logical("string", "uuid")}, doc="some"),
        field("price", logical("bytes", "decimal", precision=4, scale=1), default="\1"),
    )

    inner = {"a": "x", "b": datetime(2024, 1, 1, tzinfo=UTC)}
    message = model(**{f"f{number}": inner for number in range(len(TYPE_NAMES))}, more=[])

    codec = codec_for(model)
    assert codec.decode(codec.encode(message)) == message


def test_classes_that_had_to_be_renamed_are_found_in_unions():
    one = {**ADDRESS, "namespace": "one"}
    two = {**ADDRESS, "namespace": "two", "fields": [field("number", "int")]}
    model = generated(
        field("address", ["null", one, two]),
        field("status", {"type": "enum", "name": "status", "symbols": ["NEW"]}),
        field("maybe", ["null", "int", "status"], default=None),
    )

    for address in ({"street": "x"}, {"number": 3}):
        message = model(address=address, status="NEW", maybe="NEW")
        codec = codec_for(model)
        assert codec.decode(codec.encode(message)) == message


@pytest.mark.parametrize("more", ["int", ["int", logical("long", "timestamp-micros")]])
def test_records_that_look_alike_come_back_as_what_they_were(more):
    one = {"type": "record", "name": "One", "fields": [field("number", "int")]}
    model = generated(field("either", [one, {**one, "name": "Two"}]), field("more", more))
    codec = codec_for(model)

    for cls in model.model_fields["either"].annotation.__args__:
        message = codec.decode(codec.encode(model(either=cls(number=3), more=1)))
        assert type(message.either) is cls


def test_symbols_that_enums_do_not_allow_get_another_name():
    symbols = ["None", "name", "mro", "_x_", "__", "title", "A"]
    model = generated(field("kind", {"type": "enum", "name": "Kind", "symbols": symbols}))

    codec = codec_for(model)
    for symbol in symbols:
        message = codec.decode(codec.encode(model(kind=symbol)))
        assert message.kind == symbol


def test_docs_become_descriptions_and_docstrings():
    nasty = 'ends """ with \\N{nothing} and\nlines \x00 é'
    model = generated(field("id", "int", doc=nasty), doc=nasty)

    assert model.model_fields["id"].description == nasty
    assert model.__doc__ == nasty


def test_nothing_in_a_schema_is_executed():
    nasty = '"""\n    raise SystemExit\nx = """'
    source = {
        "type": "record",
        "name": "Order",
        "doc": nasty,
        "nasty": nasty,
        "fields": [field("id", "string", doc=nasty, default=nasty, nasty=nasty)],
    }
    model = generate_model_from_schema(source, topic=nasty, consumer_group=nasty)

    assert model().model_dump() == {"id": nasty}
    assert (model.Settings.topic, model.Settings.consumer_group) == (nasty, nasty)
    assert json.loads(model.Settings.avro_schema) == source


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "got enum"),
        (record(field("a-b", "int")), "not a legal Avro name"),
        (record(field("a", "int"), field("a", "int")), "twice"),
        (record(field("a", "Nope")), "no type"),
        (record(field("a", ["null", "int"], default="x")), "Default value <x>"),
        (record(field("a", {"type": "array", "items": "null"})), "items take no bytes"),
        ({"type": "error", "name": "E", "fields": []}, "got error"),
        (record(field("a", ["int", "int"])), "int twice"),
        (record(field("a", ["int", ["null", "string"]])), "another union"),
        (record(name="x\nraise SystemExit"), "not a legal Avro name"),
        ({}, "not a valid Avro schema"),
    ],
)
def test_a_schema_that_makes_no_model_says_why(schema, reason):
    with pytest.raises(SchemaValidationError, match=reason):
        generate_model_from_schema(schema, topic="t")


@pytest.mark.parametrize("depth", [250, 5_000])
def test_a_schema_nested_too_deeply_is_an_error_and_no_crash(depth):
    kind: Any = "int"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    with pytest.raises(SchemaValidationError):
        generated(field("deep", kind))


class Line(BaseModel):
    number: int = 3


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Label(Enum):
    NEW = "brand new"
    OLD = "used"


class Everything(FlowBaseModel):
    class Settings:
        topic = "orders"

    nullable: int | None = None
    pair: tuple[int, str] = (1, "a")
    single: tuple[Line] = (Line(),)
    size: Size = Size.SMALL
    label: Label = Label.NEW
    took: timedelta = timedelta(1)
    names: set[str] = Field(default_factory=set)
    lines: list[Line] = Field(default_factory=list)
    line: Line = Line(number=9)
    price: Annotated[Decimal, Field(max_digits=5, decimal_places=2)] = Decimal("1.5")
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    id: UUID = UUID(int=1)
    data: bytes = b"\xff"
    either: dict[str, Line | int] = Field(default_factory=dict)
    inner: Everything | None = None
    one: Literal[1, 2] = 1
    aliased: str = Field("q", alias="from")


def test_the_derived_schema_of_a_model_makes_one_that_writes_the_same_bytes():
    made: Any = generate_model_from_schema(record_schema(Everything), topic="orders")
    own, generated_one = codec_for(Everything), codec_for(made)

    for message in (
        Everything(),
        Everything(inner=Everything(), either={"a": Line(), "b": 1}, names={"x"}, lines=[Line()]),
    ):
        data = own.encode(message)
        assert generated_one.encode(generated_one.decode(data)) == data
        assert own.decode(data) == message
    assert generated_one.encode(made()) == own.encode(Everything())
    assert made().pair == (1, "a")


def test_a_subclass_may_add_methods_but_no_field_that_would_be_lost():
    made: Any = generated(field("id", "int"))

    class Shouting(made):
        def shout(self) -> str:
            return f"{self.id}!"

    class Longer(made):
        more: int = 0

    class Derived(Longer):
        class Settings:
            avro_schema = None

    codec = codec_for(Shouting)
    assert codec.decode(codec.encode(Shouting(id=3))).shout() == "3!"
    with pytest.raises(SchemaValidationError, match=r"Longer\.more: Settings\.avro_schema has no"):
        codec_for(Longer)
    assert codec_for(Derived).decode(codec_for(Derived).encode(Derived(id=1, more=2))).more == 2


def test_a_path_and_a_name_that_ends_in_avsc_are_files(tmp_path):
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(record(field("id", "int"))), encoding="utf-8")

    for source in (path, str(path)):
        assert generate_model_from_schema(source, topic="orders")(id=1).id == 1
    with pytest.raises(FileNotFoundError):
        generate_model_from_schema("missing.avsc", topic="orders")


def test_the_class_is_that_of_the_source(tmp_path, monkeypatch):
    schema = record(field("id", "int"), field("home", ADDRESS), field("self", ["null", "Order"]))
    (tmp_path / "orders_made.py").write_text(generate_model_source(schema, "orders"))
    monkeypatch.syspath_prepend(tmp_path)

    imported = importlib.import_module("orders_made").Order

    made = generate_model_from_schema(schema, "orders")
    assert imported.model_json_schema() == made.model_json_schema()
    assert vars(imported.Settings)["avro_schema"] == vars(made.Settings)["avro_schema"]
