"""Any model of plain data, any value: it comes back equal, and garbage is only ever refused."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st
from pydantic import create_model

from flowodm.avro import wire
from flowodm.avro.codec import Codec
from flowodm.avro.mapping import record_schema
from flowodm.exceptions import DeserializationError
from support.generated_models import messages


@given(messages())
def test_a_message_comes_back_equal(message):
    codec = Codec(type(message), subject="s")
    assert codec.decode(codec.encode(message)).__dict__ == message.__dict__


@given(messages())
def test_the_bytes_are_those_of_the_published_schema(message):
    codec = Codec(type(message), subject="s")
    data = codec.encode(message)
    stream = BytesIO(data)
    fastavro.schemaless_reader(stream, codec.schema, None)
    assert stream.tell() == len(data)


@given(messages())
def test_a_default_is_one_of_its_fields_first_branch(message):
    schema = record_schema(type(message))
    fastavro.parse_schema(schema)
    named = {"null": type(None), "string": str, "long": int, "double": float, "boolean": bool}
    for field in schema["fields"]:
        if "default" in field and isinstance(field["type"], list):
            first = field["type"][0]
            expected = named.get(first) if isinstance(first, str) else None
            assert expected is None or type(field["default"]) is expected


class Registry:
    """Knows one schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def schema(self, _schema_id: int) -> Any:
        return self._schema


@given(messages(), messages(), st.randoms())
def test_a_wider_writer_in_another_order_is_read_as_the_model(message, more, random):
    fields = dict(type(message).model_fields)
    fields |= {f"more_{name}": info for name, info in type(more).model_fields.items()}
    values = message.__dict__ | {f"more_{name}": value for name, value in more.__dict__.items()}
    names = random.sample(sorted(fields), len(fields))
    wide = create_model(
        "Wide", **{name: (fields[name].rebuild_annotation(), ...) for name in names}
    )
    writer = Codec(wide, subject="s")
    reader: Any = Codec(type(message), subject="s", registry=Registry(writer.schema))  # type: ignore[arg-type]
    reader.load_schema(1)
    data = wire.header(1) + writer.encode(wide.model_construct(**values))
    assert reader.decode(data).__dict__ == message.__dict__


@given(messages(), st.binary(max_size=40))
def test_garbage_is_refused_or_read_and_nothing_else_is_raised(message, garbage):
    codec = Codec(type(message), subject="s")
    try:
        decoded = codec.decode(garbage)
    except DeserializationError:
        return
    assert isinstance(decoded, type(message))


@given(messages(), st.data())
def test_a_flipped_byte_never_raises_anything_else(message, data):
    codec = Codec(type(message), subject="s")
    encoded = bytearray(codec.encode(message))
    if not encoded:
        return
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = codec.decode(bytes(encoded))
    except DeserializationError:
        return
    assert isinstance(decoded, type(message))
