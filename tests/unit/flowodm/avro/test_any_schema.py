"""Schemas of every shape and size: the compiled reader reads what fastavro reads."""

from __future__ import annotations

import io
from itertools import count
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowodm.avro.compiled_reader import compile_reader
from flowodm.avro.parsing import parsed
from flowodm.avro.reader import union_reader

PLAIN = ("null", "boolean", "int", "long", "float", "double", "string", "bytes")
VALUES = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=200),
    "bytes": st.binary(max_size=200),
}


class Shapes:
    """Draws a schema, and values of it. Names are numbered, so that none comes twice."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._numbers = count()

    def schema(self, levels: int) -> Any:
        kinds = ["plain", "enum", "fixed"]
        kinds += ["array", "map", "record", "union"] if levels else []
        return getattr(self, self._draw(st.sampled_from(kinds)))(levels)

    def plain(self, _levels: int) -> str:
        return self._draw(st.sampled_from(PLAIN))

    def enum(self, _levels: int) -> Any:
        symbols = self._draw(st.sampled_from([1, 2, 63, 64, 65, 300]))
        return {"type": "enum", "name": self._name(), "symbols": [f"S{n}" for n in range(symbols)]}

    def fixed(self, _levels: int) -> Any:
        size = self._draw(st.sampled_from([0, 1, 16, 1_000]))
        return {"type": "fixed", "name": self._name(), "size": size}

    def array(self, levels: int) -> Any:
        return {"type": "array", "items": self.schema(levels - 1)}

    def map(self, levels: int) -> Any:
        return {"type": "map", "values": self.schema(levels - 1)}

    def record(self, levels: int) -> Any:
        fields = self._draw(st.sampled_from([0, 1, 3, 70] if levels else [0, 1]))
        inner = [self.schema(levels - 1 if n < 3 else 0) for n in range(fields)]
        fields = [{"name": f"f{n}", "type": kind} for n, kind in enumerate(inner)]
        return {"type": "record", "name": self._name(), "fields": fields}

    def union(self, levels: int) -> Any:
        size = self._draw(st.sampled_from([1, 2, 64, 65, 129]))
        named = [self.record, self.enum, self.fixed]
        branches = [self._draw(st.sampled_from(named))(0) for _ in range(size)]
        return [*self._draw(st.lists(st.sampled_from(PLAIN), unique=True, max_size=3)), *branches]

    def _name(self) -> str:
        return f"N{next(self._numbers)}"

    def value(self, schema: Any) -> Any:
        if isinstance(schema, str):
            return self._draw(VALUES[schema])
        return self._branch(schema) if isinstance(schema, list) else self._composed(schema)

    def _composed(self, schema: Any) -> Any:
        match schema["type"]:
            case "enum":
                return self._draw(st.sampled_from(schema["symbols"]))
            case "fixed":
                return self._draw(st.binary(min_size=schema["size"], max_size=schema["size"]))
            case "array":
                return [self.value(schema["items"]) for _ in range(self._draw(st.integers(0, 3)))]
            case "map":
                keys = self._draw(st.lists(st.text(max_size=5), unique=True, max_size=3))
                return {key: self.value(schema["values"]) for key in keys}
            case _:
                return {field["name"]: self.value(field["type"]) for field in schema["fields"]}

    def _branch(self, union: list[Any]) -> Any:
        branch = self._draw(st.sampled_from([union[0], union[-1], *union]))
        value = self.value(branch)
        return (branch["name"], value) if isinstance(branch, dict) else value


@st.composite
def records(draw: Any) -> tuple[Any, Any]:
    shapes = Shapes(draw)
    schema = shapes.record(3)
    return schema, shapes.value(schema)


@settings(max_examples=50)
@given(records())
def test_it_is_the_same_value(drawn):
    schema, value = drawn
    full = fastavro.parse_schema(parsed(schema))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, full, value)
    data = stream.getvalue()

    def slow(given_bytes: bytes) -> Any:
        return fastavro.schemaless_reader(io.BytesIO(given_bytes), full, None)

    read = compile_reader(full, 0, (), lambda values, **_: values, slow, by_alias=False)

    assert read(data) == slow(data)


@pytest.mark.parametrize("branches", [1, 64, 65, 8_192, 8_193])
def test_a_topic_with_many_types_of_records(branches):
    """The branch's index comes first, in as many bytes as it takes."""
    schemas = [
        {"type": "record", "name": f"R{n}", "fields": [{"name": "x", "type": "long"}]}
        for n in range(branches)
    ]
    wanted = schemas[-1]
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schemas), (wanted["name"], {"x": 7}))

    def make(schema: Any, start: int) -> Any:
        assert schema is wanted
        return lambda data: data[start:]

    assert union_reader(schemas, wanted, 0, make)(stream.getvalue()) == b"\x0e"
