"""Records for tests: messages, unreadable records, and tombstones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from flowodm.avro import wire

if TYPE_CHECKING:
    from flowodm.model import FlowBaseModel

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

UNREADABLE = b"\xff" * 64
"""A value that no model can read: it is not UTF-8, and has a varint that does not end."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record to put into a topic.

    Attributes:
        value: A message, written as ``produce()`` writes it; or bytes, written as they are; or
            None for a tombstone.
        key: The key, instead of the value of the message's ``key_field``.
        headers: Pairs of name and bytes.
        partition: The partition; None: the key decides, or without a key they take turns.
        timestamp: Milliseconds since 1970; None: now.
    """

    value: FlowBaseModel | bytes | None
    key: str | bytes | None = None
    headers: Headers = ()
    partition: int | None = None
    timestamp: int | None = None


def poison(
    value: bytes = UNREADABLE,
    *,
    schema_id: int | None = None,
    key: str | bytes | None = None,
    headers: Headers = (),
    partition: int | None = None,
    timestamp: int | None = None,
) -> Record:
    """Make a record that cannot be read.

    Args:
        value: The record's value.
        schema_id: Put Confluent's header with this schema id in front of the value.
        key: See :class:`Record`.
        headers: See :class:`Record`.
        partition: See :class:`Record`.
        timestamp: See :class:`Record`.
    """
    framed = value if schema_id is None else wire.header(schema_id) + value
    return Record(framed, key, headers, partition=partition, timestamp=timestamp)


def tombstone(
    key: str | bytes,
    *,
    headers: Headers = (),
    partition: int | None = None,
    timestamp: int | None = None,
) -> Record:
    """Make a record without a value, which marks its key as deleted; see :class:`Record`."""
    return Record(None, key, headers, partition=partition, timestamp=timestamp)
