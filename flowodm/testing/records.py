"""Records for tests: good ones, such as nobody can read, and tombstones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from flowodm.avro import wire

if TYPE_CHECKING:
    from flowodm.model import FlowBaseModel

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

#: No model reads this: it is no UTF-8, no varint ends in it, and it is longer than any number.
UNREADABLE = b"\xff" * 64


@dataclass(frozen=True, slots=True)
class Record:
    """A record before Kafka has it.

    Attributes:
        value: A message, which is written as ``produce()`` writes it; bytes, which stay as they
            are; or None, which makes it a tombstone.
        key: The key, instead of that of the message's ``key_field``.
        headers: Pairs of name and bytes.
        partition: Its partition; None: that of its key, or the next one in turn.
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
    """A record that cannot be read.

    Args:
        value: Its bytes.
        schema_id: Frame them as Confluent does, with this id in front.
        key: See :class:`Record`, as for the others.
        headers: See there.
        partition: See there.
        timestamp: See there.
    """
    framed = value if schema_id is None else wire.header(schema_id) + value
    return Record(framed, key, headers, partition, timestamp)


def tombstone(
    key: str | bytes,
    *,
    headers: Headers = (),
    partition: int | None = None,
    timestamp: int | None = None,
) -> Record:
    """A record without a value: what its key stands for is gone. See :class:`Record`."""
    return Record(None, key, headers, partition, timestamp)
