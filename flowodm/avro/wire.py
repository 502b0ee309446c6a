"""The Confluent wire format: a zero byte, a big-endian schema id, an Avro body.

Source of the rule: Confluent's "Wire format" in the Schema Registry documentation. Pure.
"""

from __future__ import annotations

import struct

MAGIC = b"\x00"
HEADER_SIZE = 5

_HEADER = struct.Struct(">bI")


def header(schema_id: int) -> bytes:
    """The five bytes that go before an Avro body written with the schema of this id."""
    return _HEADER.pack(0, schema_id)


def schema_id_of(data: bytes) -> int | None:
    """The schema id in a record's header; None if the record cannot be framed.

    Bare Avro may begin with a zero byte too: an id found here is no proof of framing.
    """
    if len(data) < HEADER_SIZE or data[:1] != MAGIC:
        return None
    return int.from_bytes(data[1:HEADER_SIZE], "big")
