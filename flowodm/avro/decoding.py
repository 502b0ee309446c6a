"""From bytes to messages, prepared once for each writer's schema.

Reading a record then is one call into fastavro, one into Pydantic, and nothing in between but the
timestamps.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import fastavro
from pydantic import BaseModel

from flowodm.avro.failures import TrailingBytesError
from flowodm.avro.logical import EPOCH, MICROSECOND
from flowodm.avro.reading import for_reading
from flowodm.avro.resolution import counterparts, fit, holds_itself, only_drops, same_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

M = TypeVar("M", bound=BaseModel)

_TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}


class Decoding(Generic[M]):
    """Makes the functions that read one model's records.

    Args:
        model: The class of the messages.
        reader_schema: Its schema, with full names.
        classes: What is to be built beyond plain values, by the names in that schema; see
            :func:`flowodm.avro.reading.classes_to_build`.
        by_alias: Whether that schema may name fields by their Pydantic aliases.
    """

    def __init__(
        self,
        model: type[M],
        reader_schema: dict[str, Any],
        classes: Mapping[str, type],
        *,
        by_alias: bool,
    ) -> None:
        self._model = model
        self._reader_schema = reader_schema
        self._classes = classes
        self._by_alias = by_alias

    def reader(self, writer: Any, start: int) -> Callable[[bytes], M]:
        """A function that reads a record which ``writer`` wrote, from byte ``start`` on."""
        classes = self._classes_of(writer)
        if same_shape(writer, self._reader_schema):
            return self._unresolved(writer, classes, (), start)
        writer, reader = fit(writer, self._reader_schema)
        dropped = only_drops(writer, reader)
        if dropped is not None:
            return self._unresolved(writer, classes, dropped, start)
        fitted = (self._readable(writer, classes), self._readable(reader, self._classes))
        return self._compiled(*fitted, (), (), start)

    def _readable(self, schema: Any, classes: Mapping[str, type]) -> Any:
        return fastavro.parse_schema(for_reading(schema, classes, by_alias=self._by_alias))

    def _classes_of(self, writer: Any) -> dict[str, type]:
        """The classes to build, by the writer's own names."""
        if not self._classes:
            return {}
        return {
            name: self._classes[read_as]
            for name, readers in counterparts(writer, self._reader_schema).items()
            for read_as in readers
            if read_as in self._classes
        }

    def _unresolved(
        self, writer: Any, classes: dict[str, type], dropped: tuple[str, ...], start: int
    ) -> Callable[[bytes], M]:
        timestamps: tuple[str, ...] = ()
        # Of a record that holds itself, we would get only the outermost; and it may be a message
        # by the time that we get it.
        if not holds_itself(writer):
            writer, timestamps = _with_plain_timestamps(writer, dropped)
        return self._compiled(self._readable(writer, classes), None, timestamps, dropped, start)

    def _compiled(
        self,
        writer: Any,
        reader: Any,
        timestamps: tuple[str, ...],
        dropped: tuple[str, ...],
        start: int,
    ) -> Callable[[bytes], M]:
        validate = self._model.__pydantic_validator__.validate_python
        schemaless_reader = fastavro.schemaless_reader
        # Derived fields have the names of the model's fields, never their aliases; those of a
        # schema that was given have either.
        by_alias = self._by_alias

        def read(data: bytes) -> M:
            stream = BytesIO(data)
            stream.seek(start)
            values: Any = schemaless_reader(stream, writer, reader)
            if stream.tell() != len(data):
                raise TrailingBytesError
            for name in dropped:
                del values[name]
            for name in timestamps:
                micros = values[name]
                if micros is not None:
                    values[name] = EPOCH + micros * MICROSECOND
            message: M = validate(values, strict=False, by_alias=by_alias, by_name=True)
            return message

        return read


def _with_plain_timestamps(
    schema: dict[str, Any], dropped: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema with its top-level timestamps as plain longs, and the names of those it keeps.

    fastavro takes 0.7 µs for a timestamp, Python 0.2. Deeper ones are left to fastavro, which
    knows which branch of a union it is in.
    """
    fields, timestamps = [], []
    for field in schema["fields"]:
        kind = field["type"]
        if kind == _TIMESTAMP:
            fields.append({**field, "type": "long"})
        elif isinstance(kind, list) and len(kind) == 2 and "null" in kind and _TIMESTAMP in kind:  # noqa: PLR2004 - null and one other
            fields.append({**field, "type": ["long" if k == _TIMESTAMP else k for k in kind]})
        else:
            fields.append(field)
            continue
        if field["name"] not in dropped:
            timestamps.append(field["name"])
    return {**schema, "fields": fields}, tuple(timestamps)
