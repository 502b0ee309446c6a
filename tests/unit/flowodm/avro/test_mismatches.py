"""A writer's schema that does not fit is said with the field at fault."""

from __future__ import annotations

import io
from datetime import datetime  # noqa: TC003 - Pydantic needs it at run time
from typing import Any

import fastavro
import pytest
from pydantic import BaseModel

from flowodm.avro.codec import Codec
from flowodm.exceptions import DeserializationError

HEADER = b"\0\0\0\0\x07"


class Line(BaseModel):
    amount: int


class Order(BaseModel):
    id: str
    lines: list[Line]


class Stamp(BaseModel):
    at: datetime


class OneSchema:
    """In the registry's place."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def schema(self, _schema_id: int) -> Any:
        return self._schema


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields.items()],
    }


LINES = {"type": "array", "items": record("Line", amount="double")}


@pytest.mark.parametrize(
    ("model", "schema", "value", "field", "said"),
    [
        (
            Order,
            record("Order", id="string", lines=LINES),
            {"id": "a", "lines": [{"amount": 1.5}]},
            "lines[].amount",
            "double cannot be read as long",
        ),
        (Stamp, record("Stamp", at="int"), {"at": 5}, "at", "plain int cannot be read"),
    ],
    ids=["double for int", "int for datetime"],
)
def test_the_field_that_does_not_fit_is_named(model, schema, value, field, said):
    codec = Codec(model, subject="s", registry=OneSchema(schema))  # type: ignore[arg-type]
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)

    def read() -> None:
        codec.load_schema(7)
        codec.decode(HEADER + stream.getvalue())

    with pytest.raises(DeserializationError, match=said) as raised:
        read()

    assert (raised.value.schema_id, raised.value.field) == (7, field)
