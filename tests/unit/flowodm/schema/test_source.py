"""The source of generated models: any schema's is a module that mypy accepts and that works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from flowodm.avro.codec import Codec
from flowodm.schema import generate_model_from_schema, generate_model_source

NAMES = ["id", "class", "json", "_x", "date", "int", "str", "Order", "list", "self", "Enum", "A_1"]


class Kind(NamedTuple):
    """A schema, how Python tells its values from others, and the values in Avro's JSON."""

    schema: Any
    python: str
    values: st.SearchStrategy[Any]


def of(schema: Any, python: str, values: st.SearchStrategy[Any]) -> Kind:
    return Kind(schema, python, values)


def logical(base: str, mark: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": mark, **more}


TEXT = st.text(st.characters(codec="latin-1"), max_size=3)
INTS = st.integers(-(2**31), 2**31 - 1)
DAYS = st.integers(-10_000, 10_000)
DECIMAL = logical("bytes", "decimal", precision=8, scale=2)
SCALARS = [
    of("null", "None", st.none()),
    of("boolean", "bool", st.booleans()),
    of("int", "int", INTS),
    of("long", "int", st.integers(-(2**63), 2**63 - 1)),
    of("double", "float", st.floats(allow_nan=False, allow_infinity=False)),
    of("float", "float", st.floats(allow_nan=False, allow_infinity=False, width=32)),
    of("string", "str", TEXT),
    of("bytes", "bytes", TEXT),
    of(logical("int", "date"), "date", DAYS),
    of(logical("long", "timestamp-millis"), "datetime", INTS),
    of(logical("long", "timestamp-micros"), "datetime", INTS),
    of(logical("int", "time-millis"), "time", st.integers(0, 86_399_999)),
    of(logical("long", "time-micros"), "time", st.integers(0, 86_399_999_999)),
    of(logical("string", "uuid"), "uuid", st.uuids().map(str)),
    of(DECIMAL, "decimal", st.sampled_from(["\0", "\u00ff", "\x01\x02"])),
]


class Namer:
    """Gives each named type of one schema a name of its own."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"


@st.composite
def kinds(draw: st.DrawFn, namer: Namer, depth: int = 2) -> Kind:
    shape = draw(st.integers(0, 5 if depth else 1))
    if shape <= 1:
        return draw(st.sampled_from(SCALARS))
    inner = draw(kinds(namer, depth - 1))
    match shape:
        case 2 if not _weightless(inner.schema):
            items = st.lists(inner.values, max_size=2)
            return of({"type": "array", "items": inner.schema}, "list", items)
        case 3:
            values = st.dictionaries(TEXT, inner.values, max_size=2)
            return of({"type": "map", "values": inner.schema}, "dict", values)
        case 4:
            return draw(unions(namer, depth, inner))
    return draw(records(namer, depth))


class Chosen(NamedTuple):
    """A value of a union, and its branch."""

    schema: Any
    value: Any


@st.composite
def unions(draw: st.DrawFn, namer: Namer, depth: int, first: Kind) -> Kind:
    others = draw(st.lists(kinds(namer, depth - 1), max_size=2))
    branches = [kind for kind in [first, *others] if not isinstance(kind.schema, list)]
    told_apart = [kind.python for kind in branches if kind.python != "record"]
    bases = [_base(kind.schema) for kind in branches if kind.python != "record"]
    if not branches or any(len(set(x)) < len(x) for x in (told_apart, bases)):
        return first
    values = [
        kind.values.map(lambda value, schema=kind.schema: Chosen(schema, value))
        for kind in branches
    ]
    return of([kind.schema for kind in branches], "union", st.one_of(values))


def _base(schema: Any) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


@st.composite
def records(draw: st.DrawFn, namer: Namer, depth: int) -> Kind:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    fields = []
    values = {}
    for name in names:
        kind = draw(kinds(namer, depth - 1))
        field = {"name": name, "type": kind.schema}
        if draw(st.booleans()):
            field["default"] = _unchosen(draw(kind.values))
        if draw(st.booleans()):
            field["doc"] = draw(st.text(max_size=5))
        fields.append(field)
        values[name] = kind.values
    schema = {"type": "record", "name": namer("Order"), "fields": fields}
    return of(schema, "record", st.fixed_dictionaries(values))


SCHEMAS = st.builds(Namer).flatmap(lambda namer: records(namer, 3))


@given(SCHEMAS, st.data())
def test_any_schema_makes_a_model_that_writes_and_reads_its_bytes(kind, data):
    model = generate_model_from_schema(kind.schema, topic="orders")
    values = data.draw(kind.values)
    physical = fastavro.parse_schema(_without_marks(kind.schema))
    stream = BytesIO()
    fastavro.schemaless_writer(stream, physical, _with_bytes(kind.schema, values))

    codec: Any = Codec(model, subject="", avro_schema=vars(model.Settings)["avro_schema"])
    message = codec.decode(stream.getvalue())

    assert codec.encode(message) == stream.getvalue()
    assert codec.schema == kind.schema


@given(SCHEMAS)
def test_any_default_is_of_its_fields_type(kind):
    model = generate_model_from_schema(kind.schema, topic="orders")

    for name, field in model.model_fields.items():
        if not field.is_required():
            default = field.get_default(call_default_factory=True, validated_data={})
            model.__pydantic_validator__.validate_assignment(model.model_construct(), name, default)


def _weightless(schema: Any) -> bool:
    """Whether values take no bytes: an array of those is refused."""
    if _base(schema) == "record":
        return all(_weightless(field["type"]) for field in schema["fields"])
    return bool(schema == "null")


def _without_marks(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_marks(branch) for branch in schema]
    if isinstance(schema, dict):
        return {
            k: _without_marks(v) for k, v in schema.items() if k not in {"logicalType", "default"}
        }
    return schema


def _unchosen(value: Any) -> Any:
    if isinstance(value, Chosen):
        return _unchosen(value.value)
    if isinstance(value, list):
        return [_unchosen(item) for item in value]
    if isinstance(value, dict):
        return {key: _unchosen(item) for key, item in value.items()}
    return value


def _with_bytes(schema: Any, value: Any) -> Any:
    """Avro's JSON as fastavro wants it: bytes for bytes."""
    if isinstance(value, Chosen):
        named = isinstance(value.schema, dict) and "name" in value.schema
        # Named, since fastavro would write -1 as the int that stands before the long.
        branch = value.schema["name"] if named else _base(value.schema)
        return (branch, _with_bytes(value.schema, value.value))
    match _base(schema):
        case "bytes":
            return value.encode("latin-1")
        case "array":
            return [_with_bytes(schema["items"], item) for item in value]
        case "map":
            return {key: _with_bytes(schema["values"], item) for key, item in value.items()}
        case "record":
            return {f["name"]: _with_bytes(f["type"], value[f["name"]]) for f in schema["fields"]}
    return value


EVERYTHING = {
    "type": "record",
    "name": "order",
    "namespace": "shop",
    "doc": "An order.",
    "fields": [
        {"name": f"{name}_field", "type": kind.schema, "doc": 'some "words"'}
        for name, kind in zip("abcdefghijklmnopq", SCALARS, strict=False)
    ]
    + [
        {"name": "class", "type": "string", "default": 'a "kind"'},
        {"name": "_rev", "type": ["null", "int"], "default": None},
        {"name": "json", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "hash", "type": {"type": "fixed", "name": "MD5", "size": 4}, "default": "abcd"},
        {"name": "date", "type": logical("int", "date"), "default": 3},
        {"name": "due", "type": ["null", logical("int", "date")], "default": None},
        {"name": "price", "type": DECIMAL, "default": "\u0001"},
        {"name": "int", "type": "int", "default": 1},
        {"name": "count", "type": "int", "default": 1},
        {"name": "local", "type": logical("long", "local-timestamp-millis"), "default": 1},
        {"name": "took", "type": logical("long", "timedelta-micros"), "default": 1},
        {
            "name": "status",
            "type": {"type": "enum", "name": "status", "symbols": ["NEW", "None", "title"]},
            "default": "None",
        },
        {
            "name": "address",
            "type": {
                "type": "record",
                "name": "Address",
                "fields": [{"name": "street", "type": "string"}],
            },
            "default": {"street": "x"},
        },
        {
            "name": "pair",
            "type": {
                "type": "record",
                "name": "Pair",
                "logicalType": "tuple",
                "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "status"}],
            },
        },
        {"name": "others", "type": {"type": "map", "values": "Address"}, "default": {}},
        {"name": "parent", "type": ["null", "order"], "default": None},
        {"name": "either", "type": ["null", "long", "string", "Address"], "default": None},
    ],
}


def test_the_source_passes_mypy_strict_with_pydantics_plugin_and_without(tmp_path):
    (tmp_path / "orders_made.py").write_text(generate_model_source(EVERYTHING, "orders", None, "g"))
    (tmp_path / "plugin.ini").write_text("[mypy]\nplugins = pydantic.mypy\n")
    (tmp_path / "plain.ini").write_text("[mypy]\n")

    for config in ("plugin.ini", "plain.ini"):
        command = [sys.executable, "-m", "mypy", "--strict", f"--config-file={config}"]
        # What is asked is whether the module is right, not whether the library is.
        command += ["--follow-imports=silent", "--cache-dir=cache", "orders_made.py"]
        checked = subprocess.run(
            command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_source_has_no_line_that_a_formatter_would_break():
    lines = generate_model_source(EVERYTHING, "orders").splitlines()
    assert [line for line in lines if len(line) > 100] == []


@given(st.text(max_size=30), st.sampled_from(["", "r", 'r"', '"""', "\\", "\n", 'r"""', "{topic}"]))
def test_a_doc_changes_nothing_but_the_docstring(doc, end):
    """Whatever it ends with: the class has its fields, and writes the schema that was given."""
    enum = {"type": "enum", "name": "K", "doc": doc + end, "symbols": ["A"]}
    schema = {
        "type": "record",
        "name": "Order",
        "doc": doc + end,
        "fields": [
            {"name": "kind", "type": enum},
            {"name": "id", "type": "string", "doc": doc + end},
        ],
    }

    model = generate_model_from_schema(schema, topic="t")

    assert list(model.model_fields) == ["kind", "id"]
    assert json.loads(model.Settings.avro_schema) == schema
    assert model.model_fields["id"].description == (doc + end or None)
