"""Make the functions that turn bytes into messages, one for each writer's schema.

Most records are read by a function that is compiled for their schema. fastavro reads the others:
those that are recursive or have to be resolved. Either way Pydantic validates the message.

Source of the rules for unions: "Unions" and "Schema Resolution" in the Avro specification. The
branch's index comes first, as an int, and the branch that was written is resolved to the reader's
record.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import fastavro
from fastavro.read import LOGICAL_READERS
from pydantic import BaseModel

from flowodm.avro import wire
from flowodm.avro.build_hooks import HOOKS, for_reading
from flowodm.avro.compatibility import obstacles
from flowodm.avro.compiled_reader import compile_reader
from flowodm.avro.depth import depth_check
from flowodm.avro.errors import MismatchError, OtherRecordError, TrailingBytesError
from flowodm.avro.names import short_name
from flowodm.avro.parsing import parsed_record
from flowodm.avro.resolution import counterparts, fit
from flowodm.avro.schema_values import check_values
from flowodm.avro.shapes import only_drops, same_shape
from flowodm.registry.references import standalone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_MORE = 0x80
"""The bit that says that another byte of a number follows."""


def _install_hooks() -> None:
    """Add this package's functions to fastavro's global table. Idempotent.

    They are called only for schemas with this package's own logical types.
    """
    LOGICAL_READERS.update(HOOKS)


class RecordReaders(Generic[M]):
    """Makes the functions that read one model's records.

    Args:
        model: The class of the messages.
        reader_schema: Its schema, with full names.
        classes: The classes to build, by the names in that schema; see
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
        _install_hooks()
        self._model = model
        self._reader_schema = reader_schema
        self._classes = classes
        self._by_alias = by_alias

    def reader(self, writer: Any, start: int) -> Callable[[bytes], M]:
        """Return a function that reads a record which ``writer`` wrote, from byte ``start`` on.

        Raises:
            CannotFitError: The writer's schema cannot be read as the model's.
        """
        classes = self._classes_of(writer)
        if same_shape(writer, self._reader_schema):
            return self._unresolved(writer, classes, start, dropped=())
        original = writer
        writer, reader = fit(writer, self._reader_schema)
        dropped = only_drops(writer, reader)
        if dropped is not None:
            return self._unresolved(writer, classes, start, dropped=dropped)
        marked_writer = self._marked(writer, classes)
        marked_reader = self._marked(reader, self._classes)
        return self._explaining(
            original, self._by_fastavro(marked_writer, marked_reader, dropped=(), start=start)
        )

    def framed_reader(self, writer: Any) -> Callable[[bytes], M]:
        """Return a function that reads records with a header, written with a registry's schema.

        Args:
            writer: The schema, which may be a union of records.

        Raises:
            SchemaValidationError: It is not a valid schema, or not that of a record.
            CannotFitError: See :meth:`reader`.
            UndefinedNameError: It uses a name that it does not define.
        """
        if isinstance(writer, list):
            check_values(writer, "the writer's schema")  # a single record's parser does so itself
            branches = [standalone(branch, writer) for branch in writer]
            return union_reader(
                branches, self._reader_schema, wire.HEADER_SIZE, make=self._parsed_reader
            )
        return self._parsed_reader(writer, wire.HEADER_SIZE)

    def _parsed_reader(self, writer: Any, start: int) -> Callable[[bytes], M]:
        return self.reader(parsed_record(writer), start)

    def _explaining(self, writer: Any, read: Callable[[bytes], M]) -> Callable[[bytes], M]:
        """Return a function whose error says what in the writer's schema does not fit."""

        def read_or_explain(data: bytes) -> M:
            try:
                return read(data)
            except fastavro.read.SchemaResolutionError:
                reasons = obstacles(writer, self._reader_schema)
                raise MismatchError(reasons[0] if reasons else "") from None

        return read_or_explain

    def _marked(self, schema: Any, classes: Mapping[str, type]) -> Any:
        return fastavro.parse_schema(for_reading(schema, classes, by_alias=self._by_alias))

    def _classes_of(self, writer: Any) -> dict[str, type]:
        """Return the classes to build, by the writer's own names."""
        classes: dict[str, type] = {}
        if not self._classes:
            return classes
        for name, reader_names in counterparts(writer, self._reader_schema).items():
            for reader_name in reader_names:
                if reader_name in self._classes:
                    classes[name] = self._classes[reader_name]
        return classes

    def _unresolved(
        self, writer: Any, classes: dict[str, type], start: int, *, dropped: tuple[str, ...]
    ) -> Callable[[bytes], M]:
        """Return a reader by the writer's schema alone, which leaves out the dropped fields."""
        marked = for_reading(writer, classes, by_alias=self._by_alias)
        by_fastavro = self._by_fastavro(
            fastavro.parse_schema(marked), None, dropped=dropped, start=start
        )
        return compile_reader(
            marked,
            start,
            dropped,
            validate=self._model.__pydantic_validator__.validate_python,
            otherwise=by_fastavro,
            by_alias=self._by_alias,
        )

    def _by_fastavro(
        self, writer: Any, reader: Any, *, dropped: tuple[str, ...], start: int
    ) -> Callable[[bytes], M]:
        validate = self._model.__pydantic_validator__.validate_python
        schemaless_reader = fastavro.schemaless_reader
        # Derived fields have the names of the model's fields, never their aliases; those of a
        # schema that was given have either.
        by_alias = self._by_alias
        # fastavro skips fields that the reader lacks, and does not check where the bytes end
        # meanwhile: one more byte shows whether it went too far.
        padding = b"" if reader is None else b"\0"
        check_depth = depth_check(writer)

        def read(data: bytes) -> M:
            if check_depth is not None:
                check_depth(data, start)
            stream = BytesIO(data + padding)
            stream.seek(start)
            values: Any = schemaless_reader(stream, writer, reader)
            end = stream.tell()
            if end != len(data):
                raise EOFError if end > len(data) else TrailingBytesError
            for name in dropped:
                del values[name]
            # Not strict: see build_hooks.py.
            message: M = validate(values, strict=False, by_alias=by_alias, by_name=True)
            return message

        return read


def union_reader(
    branches: list[Any],
    wanted: dict[str, Any],
    start: int,
    make: Callable[[Any, int], Callable[[bytes], T]],
) -> Callable[[bytes], T]:
    """Return a function that reads a record of one branch of a union.

    A topic with several types of records has such a schema.

    Args:
        branches: The writer's schemas, each with all definitions that it needs.
        wanted: The reader's schema, with full names.
        start: Where the union begins in the bytes.
        make: Makes a reader of one branch that begins at a byte.

    The function raises OtherRecordError for a branch that is not the reader's record.
    """
    readers = {}
    chosen = _branches_of(wanted, branches)
    for index, branch in enumerate(branches):
        if branch in chosen:
            prefix = _encoded(index)
            readers[prefix] = make(branch, start + len(prefix))

    def read(data: bytes) -> T:
        length = 1
        while data[start + length - 1] & _MORE:
            length += 1  # IndexError where the bytes end
        reader = readers.get(data[start : start + length])
        if reader is None:
            raise OtherRecordError
        return reader(data)

    return read


def _branches_of(wanted: dict[str, Any], branches: list[Any]) -> list[Any]:
    """Return the records of the reader's name; the only record may have any name."""
    records = [branch for branch in branches if isinstance(branch, dict) and "fields" in branch]
    names = {short_name(name) for name in (wanted["name"], *wanted.get("aliases", ()))}
    named = [record for record in records if short_name(str(record["name"])) in names]
    if named or len(records) > 1:
        return named
    return records


def _encoded(index: int) -> bytes:
    """Return a branch's index as Avro writes an int that is not negative."""
    left, encoded = index << 1, bytearray()
    while left >= _MORE:
        encoded.append((left & (_MORE - 1)) | _MORE)
        left >>= 7
    encoded.append(left)
    return bytes(encoded)
