"""Write and read the header of the Confluent wire format: a zero byte, a big-endian schema id.

Source of the rule: Confluent's "Wire format" in the Schema Registry documentation. Pure.
"""

from __future__ import annotations

import struct

MAGIC = b"\x00"
HEADER_SIZE = 5

_HEADER = struct.Struct(">bI")


def header(schema_id: int) -> bytes:
    """Return the five bytes in front of a body that is written with the schema of this id."""
    return _HEADER.pack(0, schema_id)


def schema_id_of(data: bytes) -> int | None:
    """Return the schema id in a record's header; None if the record cannot have a header.

    Bare Avro may begin with a zero byte too, so an id does not prove that there is a header.
    """
    if len(data) < HEADER_SIZE or data[:1] != MAGIC:
        return None
    return int.from_bytes(data[1:HEADER_SIZE], "big")
