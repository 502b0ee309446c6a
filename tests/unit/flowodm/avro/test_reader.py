"""Readers: a union's branch is found by its index and chosen by its name; fastavro's hooks."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from typing import Any

import fastavro
import pytest
from pydantic import BaseModel

from flowodm.avro import wire
from flowodm.avro.codec import Codec
from flowodm.avro.errors import OtherRecordError
from flowodm.avro.reader import union_reader
from flowodm.exceptions import DeserializationError


class Order(BaseModel):
    n: int


def record(name: str, **fields: str) -> dict[str, Any]:
    listed = [{"name": field, "type": kind} for field, kind in fields.items()]
    return {"type": "record", "name": name, "fields": listed}


def decoded(schema: Any, value: Any, model: type[BaseModel] = Order) -> Any:
    class Registry:
        def schema(self, _schema_id: int) -> Any:
            return schema

    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    codec: Any = Codec(model, subject="s", registry=Registry())  # type: ignore[arg-type]
    codec.load_schema(1)
    return codec.decode(wire.header(1) + stream.getvalue())


def test_the_branch_of_the_models_name_is_read_wherever_it_is():
    others = [record(f"shop.Other{n}", n="string") for n in range(70)]
    for place in (0, 63, 64, 70):
        schema = [*others[:place], record("shop.Order", n="int"), *others[place:]]
        assert decoded(schema, ("shop.Order", {"n": 5})) == Order(n=5)
        with pytest.raises(DeserializationError, match="another kind of record"):
            decoded(schema, ("shop.Other7", {"n": "x"}))


def test_a_single_record_is_meant_whatever_its_name():
    assert decoded(["null", record("shop.Placed", n="long")], {"n": 5}) == Order(n=5)
    with pytest.raises(DeserializationError, match="another kind of record"):
        decoded(["null", record("shop.Placed", n="long")], None)


def test_none_is_guessed_where_several_have_other_names():
    schema = [record("shop.Placed", n="long"), record("shop.Paid", n="long")]
    with pytest.raises(DeserializationError, match="another kind of record"):
        decoded(schema, ("shop.Paid", {"n": 5}))


def test_a_union_without_any_record_is_read_by_nobody():
    with pytest.raises(DeserializationError, match="another kind of record"):
        decoded(["null", "string"], "x")


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xff", b"\x08", b"\x01"])
def test_a_number_that_is_no_branch_is_an_error(data):
    read = union_reader([record("Order", n="long")], record("Order", n="long"), 0, lambda *_: bytes)
    with pytest.raises((OtherRecordError, IndexError)):
        read(data)


def test_importing_the_codec_leaves_fastavro_alone_and_making_one_does_not():
    code = (
        "from fastavro.read import LOGICAL_READERS\n"
        "before = dict(LOGICAL_READERS)\n"
        "from flowodm.avro.codec import Codec\n"
        "from flowodm.avro.build_hooks import HOOKS\n"
        "from pydantic import create_model\n"
        "assert before == LOGICAL_READERS\n"
        "for _ in range(2):\n"
        "    Codec(create_model('Order', n=(int, ...)), subject='orders-value')\n"
        "    assert LOGICAL_READERS == {**before, **HOOKS}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
