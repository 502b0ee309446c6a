"""Confluent's header."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowodm.avro import wire

SCHEMA_IDS = st.integers(0, 2**32 - 1)


@given(SCHEMA_IDS, st.binary())
def test_the_id_comes_back_from_a_framed_record(schema_id, body):
    assert wire.schema_id_of(wire.header(schema_id) + body) == schema_id


def test_a_header_is_a_zero_byte_and_a_big_endian_id():
    assert wire.header(258) == b"\x00\x00\x00\x01\x02"


@given(st.binary().filter(lambda data: len(data) < 5 or data[0] != 0))
def test_what_is_short_or_begins_otherwise_has_no_id(data):
    assert wire.schema_id_of(data) is None
