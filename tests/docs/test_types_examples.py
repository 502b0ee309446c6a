"""docs/types.md: its table is what schemas are derived by, and its examples do what they say."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import typing
import uuid
from pathlib import Path

import pydantic
import pytest
from pydantic import create_model

from flowodm.avro.codec import codec_for
from flowodm.avro.mapping import record_schema
from flowodm.exceptions import SchemaValidationError

TEXT = (Path(__file__).parents[2] / "docs" / "types.md").read_text(encoding="utf-8")
MODELS, READING = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| (`.+) \| `([\"{\[].*)` \|$", TEXT, flags=re.MULTILINE)
UNIONS = re.search(r"one type of a kind in a union: (.*?) are errors", TEXT, flags=re.DOTALL)


@pytest.fixture
def names(monkeypatch):
    found = {"__name__": "examples", **vars(dt), **vars(typing), **vars(pydantic)}
    found |= {"Decimal": decimal.Decimal, "UUID": uuid.UUID}
    exec(compile(MODELS, "types.md", "exec", dont_inherit=True), found)
    found["Order"].model_rebuild(_types_namespace=found)
    return found


def in_backticks(text):
    return [code.replace("\\|", "|") for code in re.findall(r"`(.+?)`", text)]


def test_the_table_is_what_schemas_are_derived_by(names):
    assert len(ROWS) == 19
    for python, avro in ROWS:
        for code in in_backticks(python):
            model = create_model("Holder", value=(eval(code, names), ...))
            assert record_schema(model)["fields"][0]["type"] == json.loads(avro), code


def test_the_unions_that_are_said_to_be_errors_are(names):
    for code in in_backticks(UNIONS[1]):
        model = create_model("Holder", value=(eval(code, names), ...))
        with pytest.raises(SchemaValidationError):
            record_schema(model)


def test_symbols_are_as_the_text_says(names):
    fields = {field["name"]: field for field in record_schema(names["Order"])["fields"]}
    assert fields["state"]["type"]["symbols"] == ["NEW", "IN_TRANSIT"]
    assert fields["order_id"]["aliases"] == ["orderId"]
    assert fields["order_id"]["doc"] == "As the customer sees it"


def test_the_order_comes_back(names):
    order = names["Order"](
        order_id="o-1",
        placed=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        lines=[names["Line"](sku="A-1", price="9.99")],
        state=names["State"].IN_TRANSIT,
        priority=2,
        paid_by=names["Invoice"](number="1"),
        position=(27.7, 85.3),
    )
    codec = codec_for(type(order))
    assert (
        codec.decode(codec.encode(order.model_copy(update={"replaces": order}))).replaces == order
    )


def test_the_broken_rule_is_named(names, capsys):
    exec(compile(READING, "types.md", "exec", dont_inherit=True), names)
    assert capsys.readouterr().out == "lines.0.quantity\n"
