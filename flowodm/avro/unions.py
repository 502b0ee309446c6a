"""Records whose schema is a union of records: several kinds of events under one schema. Pure.

Source of the rules: "Unions" and "Schema Resolution" in the Avro specification: the branch's
number comes first, as an int, and the branch that was written is resolved to the reader's record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from flowodm.avro.errors import OtherRecordError
from flowodm.avro.names import short_name

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MORE = 0x80
_ONE_BYTE = 64


def union_reader(
    branches: list[Any],
    wanted: dict[str, Any],
    start: int,
    make: Callable[[Any, int], Callable[[bytes], T]],
) -> Callable[[bytes], T]:
    """A function that reads a record of one branch of a union.

    Args:
        branches: The writer's schemas, each with all definitions that it needs.
        wanted: The reader's schema, with full names.
        start: Where the union begins in the bytes.
        make: Makes a reader of one branch, and from which byte on.

    The function raises OtherRecordError for a branch that is none of the reader's.
    """
    records = [branch for branch in branches if isinstance(branch, dict) and "fields" in branch]
    names = {short_name(name) for name in (wanted["name"], *wanted.get("aliases", ()))}
    named = [branch for branch in records if short_name(str(branch["name"])) in names]
    # Names may differ where only one can be meant.
    chosen = named or (records if len(records) == 1 else [])
    readers = {}
    for number, branch in enumerate(branches):
        if branch in chosen:
            prefix = _encoded(number)
            readers[prefix] = make(branch, start + len(prefix))

    def read(data: bytes) -> T:
        length = 1
        while data[start + length - 1] & _MORE:
            length += 1
        reader = readers.get(data[start : start + length])
        if reader is None:
            raise OtherRecordError
        return reader(data)

    return read


def _encoded(number: int) -> bytes:
    """A branch's number as Avro writes an int that is not negative."""
    if number < _ONE_BYTE:
        return bytes([number << 1])
    low, high = (number << 1) & (_MORE - 1), number >> 6
    return bytes([low | _MORE, high])
