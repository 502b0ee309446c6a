"""From bytes to messages, prepared once for each writer's schema.

Most records are read by a function compiled for their schema, the others by fastavro: those that
are recursive or have to be resolved. Either way Pydantic has the last word.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import fastavro
from pydantic import BaseModel

from flowodm.avro.build_hooks import for_reading
from flowodm.avro.compatibility import obstacles
from flowodm.avro.compiled_reader import compile_reader
from flowodm.avro.errors import MismatchError, TrailingBytesError
from flowodm.avro.resolution import counterparts, fit, only_drops, same_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

M = TypeVar("M", bound=BaseModel)


class Decoding(Generic[M]):
    """Makes the functions that read one model's records.

    Args:
        model: The class of the messages.
        reader_schema: Its schema, with full names.
        classes: What is to be built beyond plain values, by the names in that schema; see
            :func:`flowodm.avro.build_hooks.classes_to_build`.
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
        original = writer
        writer, reader = fit(writer, self._reader_schema)
        dropped = only_drops(writer, reader)
        if dropped is not None:
            return self._unresolved(writer, classes, dropped, start)
        fitted = (self._readable(writer, classes), self._readable(reader, self._classes))
        return self._naming(original, self._by_fastavro(*fitted, (), start))

    def _naming(self, writer: Any, read: Callable[[bytes], M]) -> Callable[[bytes], M]:
        """The same function, which says what of the writer's schema does not fit."""

        def read_or_say(data: bytes) -> M:
            try:
                return read(data)
            except fastavro.read.SchemaResolutionError:
                found = obstacles(writer, self._reader_schema)
                raise MismatchError(found[0] if found else "") from None

        return read_or_say

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
        marked = for_reading(writer, classes, by_alias=self._by_alias)
        by_fastavro = self._by_fastavro(fastavro.parse_schema(marked), None, dropped, start)
        validate = self._model.__pydantic_validator__.validate_python
        return compile_reader(
            marked, start, dropped, validate, by_fastavro, by_alias=self._by_alias
        )

    def _by_fastavro(
        self, writer: Any, reader: Any, dropped: tuple[str, ...], start: int
    ) -> Callable[[bytes], M]:
        validate = self._model.__pydantic_validator__.validate_python
        schemaless_reader = fastavro.schemaless_reader
        # Derived fields have the names of the model's fields, never their aliases; those of a
        # schema that was given have either.
        by_alias = self._by_alias
        # What the reader does not have fastavro skips, and does not notice where the bytes end
        # meanwhile: one more byte shows whether it went too far.
        padding = b"" if reader is None else b"\0"

        def read(data: bytes) -> M:
            stream = BytesIO(data + padding)
            stream.seek(start)
            values: Any = schemaless_reader(stream, writer, reader)
            end = stream.tell()
            if end != len(data):
                raise EOFError if end > len(data) else TrailingBytesError
            for name in dropped:
                del values[name]
            # Not strict: see reading.py.
            message: M = validate(values, strict=False, by_alias=by_alias, by_name=True)
            return message

        return read
