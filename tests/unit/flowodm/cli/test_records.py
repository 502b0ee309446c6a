from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field

from flowodm import FlowBaseModel
from flowodm.cli.records import Line, LineError, data_of, parse, text_of, value_of

SECRET = "hunter2"


class Order(FlowBaseModel):
    number: int
    customer: str = "nobody"


class Aliased(FlowBaseModel):
    model_config = ConfigDict(populate_by_name=False)

    number: int = Field(alias="orderNumber")


class Blob(FlowBaseModel):
    data: bytes


class Encoded(Blob):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class Measure(FlowBaseModel):
    value: float


@given(st.none() | st.binary() | st.text().map(str.encode))
def test_bytes_come_back_from_json(data):
    shown = json.loads(json.dumps(text_of(data)))
    assert (None if shown is None else data_of(shown, "key")) == data


def test_bytes_that_are_text_are_shown_as_text():
    assert text_of("größer".encode()) == "größer"
    assert text_of(b"\xff") == {"base64": "/w=="}


@given(st.builds(Order, number=st.integers(-(2**63), 2**63 - 1), customer=st.text()))
def test_a_message_comes_back_from_its_line(order):
    line = json.dumps(value_of(order)).encode()
    assert parse(line, Order, envelope=False) == Line(order)


@given(
    st.builds(Order, number=st.integers(), customer=st.text()) | st.none(),
    st.binary(),
    st.lists(st.tuples(st.text(), st.none() | st.binary())),
)
def test_a_record_comes_back_from_its_envelope(order, key, headers):
    envelope = {
        "topic": "orders",
        "partition": 3,
        "offset": 7,
        "timestamp": "2026-01-31T12:00:00.000+00:00",
        "key": text_of(key),
        "headers": [[name, text_of(value)] for name, value in headers],
        "schema_id": None,
        "value": None if order is None else value_of(order),
    }
    line = json.dumps(envelope).encode()
    assert parse(line, Order, envelope=True) == Line(order, key, tuple(headers))


def test_an_envelope_needs_only_a_value_and_takes_headers_as_an_object():
    assert parse(b'{"value": {"number": 1}}', Order, envelope=True) == Line(Order(number=1))
    line = b'{"value": {"number": 1}, "headers": {"trace": "a", "none": null}}'
    assert parse(line, Order, envelope=True).headers == (("trace", b"a"), ("none", None))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"hunter2", "not JSON"),
        (b"\xffhunter2", "not JSON: it is not UTF-8"),
        (b"[]", "not an envelope"),
        (b'{"number": "hunter2"}', "not an envelope"),
        (b'{"value": {"number": 1}, "kye": "hunter2"}', "unknown field 'kye'"),
        (b'{"value": {"number": "hunter2"}}', "number: Input should be a valid integer"),
        (b'{"value": null}', "a tombstone .* needs a key"),
        (b'{"value": null, "key": 7}', "key: must be text, or"),
        (b'{"value": null, "key": {"base64": "hunter2!"}}', "key: not valid base64"),
        (b'{"value": null, "key": {"base64": 7}}', "key: not valid base64"),
        (b'{"value": {"number": 1}, "headers": "hunter2"}', "headers: must be an object"),
        (b'{"value": {"number": 1}, "headers": [["hunter2"]]}', "headers: must be an object"),
        (b'{"value": {"number": 1}, "headers": {"trace": 7}}', r"headers\.trace: must be text"),
    ],
)
def test_an_envelope_that_is_none_says_why_without_its_values(line, why):
    with pytest.raises(LineError, match=why) as caught:
        parse(line, Order, envelope=True)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"hunter2", "Invalid JSON"),
        (b'{"number": "hunter2"}', "number: Input should be a valid integer"),
        (b'{"number": "hunter2", "customer": 7}', "number: .*, and 1 more"),
        (b'{"number": 1, "secret": "hunter2"}', "secret: Extra inputs are not permitted"),
    ],
)
def test_a_line_that_is_no_message_says_why_without_its_values(line, why):
    with pytest.raises(LineError, match=why) as caught:
        parse(line, Order, envelope=False)
    assert SECRET not in str(caught.value)


def test_fields_may_be_named_by_their_aliases_and_by_their_names():
    for line in (b'{"orderNumber": 7}', b'{"number": 7}'):
        assert parse(line, Aliased, envelope=False).message.number == 7


def test_a_float_that_is_no_number_is_not_lost():
    line = json.dumps(value_of(Measure(value=float("inf")))).encode()
    assert parse(line, Measure, envelope=False) == Line(Measure(value=float("inf")))


def test_bytes_that_are_no_text_need_a_model_that_says_how():
    with pytest.raises(LineError, match="ser_json_bytes"):
        value_of(Blob(data=b"\xff"))
    line = json.dumps(value_of(Encoded(data=b"\xff"))).encode()
    assert parse(line, Encoded, envelope=False) == Line(Encoded(data=b"\xff"))
