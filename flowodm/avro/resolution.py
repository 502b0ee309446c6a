"""Fit the writer's and the model's schema to each other. Pure.

fastavro resolves field by field, by the Avro specification. Here both schemas are changed first,
once per writer's schema, where fastavro and Pydantic lack what the other knows:

- A reader's field that the writer lacks is removed from the reader's schema, so that Pydantic
  fills it in: a default keeps its Python type, a factory is called, and a missing value is an
  error with the field's path.
- Two records, or enums, match though their names differ, if there is only one of each.
- A type that only Pydantic can judge is read as it was written. Avro never reads a string as an
  enum, an enum as a string, or fixed bytes as bytes. Schemas written by hand need it: a status
  is a string there, and an Enum here.
- A number becomes a timestamp if the reader's schema says so and the writer's says nothing. It
  stays a number if only the writer's says so.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from flowodm.avro.logical_types import EXACT
from flowodm.avro.names import short_name
from flowodm.avro.parsing import NAMED, kind_of, named_types
from flowodm.avro.shapes import EQUAL_IN_PYTHON

_INNER = {"array": "items", "map": "values"}
_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


class CannotFitError(Exception):
    """The writer's schema cannot be read as the reader's; the text says why.

    Attributes:
        field: Dotted path of the field at fault; None if unknown.
    """

    def __init__(self, text: str, field: str | None = None) -> None:
        super().__init__(text)
        self.field = field

    def inside(self, field: str) -> CannotFitError:
        """Return the same error with a path that begins with ``field``."""
        return CannotFitError(str(self), f"{field}.{self.field}" if self.field else field)


def fit(writer: Any, reader: Any) -> tuple[Any, Any]:
    """Return the writer's and the reader's schema for fastavro.

    Args:
        writer: The schema that the bytes were written with.
        reader: The schema of the model.

    Both have full names, as fastavro's parse_schema gives them. Neither is changed.

    Raises:
        CannotFitError: Resolution would have to guess.
    """
    fitting = _Fitting(deepcopy(writer), deepcopy(reader))
    writer = fitting.fitted_writer()  # first: it finds the fields that the writer lacks
    return writer, fitting.fitted_reader()


def counterparts(writer: Any, reader: Any) -> dict[str, set[str]]:
    """Return, for each of the writer's named types, the reader's types it may be read as.

    Args:
        writer: See :func:`fit`.
        reader: See :func:`fit`.

    Raises:
        CannotFitError: See :func:`fit`.
    """
    fitting = _Fitting(deepcopy(writer), deepcopy(reader))
    fitting.fitted_writer()
    names: dict[str, set[str]] = {}
    for written, read in fitting.pairs:
        names.setdefault(written, set()).add(read)
    return names


class _Fitting:
    """One comparison of two schemas; both are changed in place."""

    def __init__(self, writer: Any, reader: Any) -> None:
        self._writer = writer
        self._reader = reader
        self._writers = named_types(writer)
        self._readers = named_types(reader)
        self.pairs: set[tuple[str, str]] = set()
        self._present: dict[str, set[str]] = {}

    def fitted_writer(self) -> Any:
        return self._pair(self._writer, self._reader)

    def fitted_reader(self) -> Any:
        return self._rebuilt(self._reader, set())

    def _pair(self, writer: Any, reader: Any) -> Any:
        """Fit one place of both schemas; return the writer's side. The reader's is changed."""
        writers = _definitions(writer, self._writers)
        readers = _definitions(reader, self._readers)
        for definition in writers:
            if kind_of(definition) in NAMED:
                for counterpart in _matching(definition, writers, readers):
                    self._named(definition, counterpart)
        fitted = [self._branch(branch, readers) for branch in _branches(writer)]
        return fitted if isinstance(writer, list) else fitted[0]

    def _branch(self, branch: Any, readers: list[Any]) -> Any:
        kind = kind_of(_definition(branch, self._writers))
        if kind in NAMED:
            return branch
        if kind in _INNER:
            self._inner(branch, _INNER[kind], _of_kind(kind, readers))
            return branch
        return _primitive(branch, kind, readers)

    def _inner(self, writer: dict[str, Any], key: str, readers: list[dict[str, Any]]) -> None:
        """Fit the items of arrays, or the values of maps."""
        for reader in readers:
            reader[key] = self._widened(writer[key], reader[key])
            writer[key] = self._pair(writer[key], reader[key])

    def _named(self, writer: dict[str, Any], reader: dict[str, Any]) -> None:
        """Fit two named types, once."""
        pair = (writer["name"], reader["name"])
        if pair in self.pairs:
            return
        self.pairs.add(pair)
        if not _same_name(writer, reader):
            reader["aliases"] = [*reader.get("aliases", ()), writer["name"]]
        if "fields" in writer:
            self._fields(writer, reader)

    def _fields(self, writer: dict[str, Any], reader: dict[str, Any]) -> None:
        by_alias = {alias: f for f in reader["fields"] for alias in f.get("aliases", ())}
        by_name = {field["name"]: field for field in reader["fields"]}
        present = self._present.setdefault(reader["name"], set())
        for field in writer["fields"]:
            other = by_name.get(field["name"]) or by_alias.get(field["name"])
            if other is not None:
                present.add(other["name"])
                other["type"] = self._widened(field["type"], other["type"])
                try:
                    field["type"] = self._pair(field["type"], other["type"])
                except CannotFitError as error:
                    raise error.inside(other["name"]) from None

    def _widened(self, writer: Any, reader: Any) -> Any:
        """Return the reader's type together with what Pydantic is to judge in this place."""
        writers = _definitions(writer, self._writers)
        readers = _definitions(reader, self._readers)
        added = [
            candidate
            for candidate in _left_to_pydantic(writers, readers)
            if not self._is_reader_name(candidate)
        ]
        return [*_branches(reader), *added] if added else reader

    def _is_reader_name(self, schema: Any) -> bool:
        """Tell whether the reader's schema has a type of this name: only one can be defined."""
        return isinstance(schema, dict) and schema.get("name") in self._readers

    def _rebuilt(self, schema: Any, emitted: set[str]) -> Any:
        """Return the reader's schema without its missing fields.

        A type that a missing field defined is defined at its next use.
        """
        if isinstance(schema, list):
            return [self._rebuilt(branch, emitted) for branch in schema]
        definition = _definition(schema, self._readers)
        if isinstance(definition, str):
            return definition
        name = definition.get("name")
        if name in emitted:
            return name
        if name is not None:
            emitted.add(name)
        rebuilt = dict(definition)
        for key in ("items", "values", "type"):
            if key in rebuilt:
                rebuilt[key] = self._rebuilt(rebuilt[key], emitted)
        if "fields" in definition:
            rebuilt["fields"] = self._present_fields(definition, emitted)
        return rebuilt

    def _present_fields(self, record: dict[str, Any], emitted: set[str]) -> list[Any]:
        """Return the fields that the writer has; all fields of a record it does not have."""
        present = self._present.get(record["name"])
        return [
            {**field, "type": self._rebuilt(field["type"], emitted)}
            for field in record["fields"]
            if present is None or field["name"] in present
        ]


def _branches(schema: Any) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def _definition(schema: Any, named: dict[str, Any]) -> Any:
    return named.get(schema, schema) if isinstance(schema, str) else schema


def _definitions(schema: Any, named: dict[str, Any]) -> list[Any]:
    return [_definition(branch, named) for branch in _branches(schema)]


def _of_kind(kind: str, schemas: list[Any]) -> list[Any]:
    return [schema for schema in schemas if kind_of(schema) == kind]


def _logical(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None


def _matching(writer: Any, writers: list[Any], readers: list[Any]) -> list[Any]:
    """Return the reader's named types that one of the writer's may be read as.

    Args:
        writer: The writer's named type.
        writers: All types that the writer has in this place.
        readers: All types that the reader has there.
    """
    kind = kind_of(writer)
    candidates = _of_kind(kind, readers)
    only_one_each = len(candidates) == 1 and len(_of_kind(kind, writers)) == 1
    if not only_one_each:
        candidates = [reader for reader in candidates if _same_name(writer, reader)]
    # Of several with the same last part of the name, the one of the same namespace.
    exact = [reader for reader in candidates if reader["name"] == writer["name"]]
    return exact or candidates


def _same_name(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    short = short_name(writer["name"])
    aliases = reader.get("aliases", ())
    return short == short_name(reader["name"]) or short in aliases or writer["name"] in aliases


def _left_to_pydantic(writers: list[Any], readers: list[Any]) -> list[Any]:
    """Return the writer's types that are read as they are, so that Pydantic converts them.

    Args:
        writers: The definitions of the types that the writer has in one place.
        readers: Those that the reader has there.
    """
    reader_kinds = {kind_of(reader) for reader in readers}
    unmatched = [writer for writer in writers if kind_of(writer) not in reader_kinds]
    return [one for one in unmatched if any(_pydantic_converts(one, to) for to in readers)]


def _pydantic_converts(writer: Any, reader: Any) -> bool:
    match kind_of(writer), kind_of(reader):
        case "string", "enum":
            return True
        case ("enum", "string") | ("fixed", "bytes") | ("fixed", "string"):
            # A number or a UUID in both, or in neither.
            return _logical(writer) == _logical(reader)
        case _:
            return False


def _primitive(writer: Any, kind: str, readers: list[Any]) -> Any:
    """Return the writer's primitive type as the reader's in the same place wants it."""
    for wanted in (kind, *_PROMOTIONS.get(kind, ())):
        for reader in readers:
            if kind_of(reader) == wanted:
                return _read_as(writer, kind, reader, readers=readers)
    return writer


def _read_as(writer: Any, kind: str, reader: Any, readers: list[Any]) -> Any:
    wanted = kind_of(reader)
    if _logical(reader) is None:
        return _unmarked(kind, wanted, readers)
    if _logical(writer) is not None:
        return _by_both_marks(writer, reader)
    if wanted != kind:
        raise CannotFitError(f"a plain {kind} cannot be read as {_logical(reader)}")
    return {**reader, "type": kind}


def _unmarked(kind: str, wanted: str, readers: list[Any]) -> Any:
    """Return the writer's type without a logical type, kept from promotion where needed.

    fastavro takes the first branch of a union that fits, Avro's libraries the writer's own type.
    """
    promotable = any(kind_of(other) in _PROMOTIONS.get(kind, ()) for other in readers)
    if promotable and len(readers) > 1 and wanted in {kind, "long"}:
        return {"type": kind, "logicalType": EXACT}
    return kind


def _by_both_marks(writer: dict[str, Any], reader: dict[str, Any]) -> dict[str, Any]:
    """Check a number with a logical type on either side: Pydantic would guess."""
    written, wanted = writer["logicalType"], reader["logicalType"]
    meaning = EQUAL_IN_PYTHON.get(wanted, wanted)
    if kind_of(writer) not in {"int", "long"}:
        return writer
    if EQUAL_IN_PYTHON.get(written, written) == meaning:
        return writer
    in_utc = written.removeprefix("local-")
    is_local = written.startswith("local-timestamp-")
    if is_local and EQUAL_IN_PYTHON.get(in_utc, in_utc) == meaning:
        return {**writer, "logicalType": in_utc}  # a timestamp without a zone is taken as UTC
    raise CannotFitError(f"{written} cannot be read as {wanted}")
