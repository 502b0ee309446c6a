"""Find out why records of one schema cannot be read with another. Pure.

The rules are those of schema resolution in the Avro specification 1.11, as registries apply
them: named types match by the last part of their name or by the reader's aliases.
"""

from __future__ import annotations

from typing import Any

from flowodm.avro.names import short_name
from flowodm.avro.parsing import NAMED, kind_of, named_types

_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
"""The types as which each written type can be read."""


def obstacles(writer: Any, reader: Any) -> list[str]:
    """Return why records written with ``writer`` cannot be read with ``reader``.

    Args:
        writer: A schema as :func:`flowodm.avro.parsing.parsed` gives it.
        reader: Another one.

    Returns:
        One sentence for each place, which begins with its path; empty if they can be read.
    """
    return _Comparison(writer, reader).all()


class _Comparison:
    """One comparison of two schemas; each pair of named types is compared once at a time."""

    def __init__(self, writer: Any, reader: Any) -> None:
        self._writer = writer
        self._reader = reader
        self._writers = named_types(writer)
        self._readers = named_types(reader)
        self._open: set[tuple[str, str]] = set()

    def all(self) -> list[str]:
        name = self._reader.get("name", "") if isinstance(self._reader, dict) else ""
        return self._pair(self._writer, self._reader, short_name(name) or kind_of(self._reader))

    def _pair(self, writer: Any, reader: Any, path: str) -> list[str]:
        writer = self._writers.get(writer, writer) if isinstance(writer, str) else writer
        reader = self._readers.get(reader, reader) if isinstance(reader, str) else reader
        if isinstance(writer, list):
            return [reason for branch in writer for reason in self._pair(branch, reader, path)]
        if isinstance(reader, list):
            return self._into_union(writer, reader, path)
        return self._single(writer, reader, path)

    def _into_union(self, writer: Any, branches: list[Any], path: str) -> list[str]:
        of_same_kind: list[list[str]] = []
        for branch in branches:
            reasons = self._pair(writer, branch, path)
            if not reasons:
                return []
            if self._kind(branch, self._readers) == kind_of(writer):
                of_same_kind.append(reasons)
        # If only one branch is of this kind, its reasons say more.
        if len(of_same_kind) == 1:
            return of_same_kind[0]
        shown = ", ".join(self._shown(branch) for branch in branches)
        return [f"{path}: {self._shown(writer)} is written, and the reader has only {shown}"]

    def _single(self, writer: Any, reader: Any, path: str) -> list[str]:
        written, wanted = _record_kind(kind_of(writer)), _record_kind(kind_of(reader))
        if written != wanted:
            if wanted in _PROMOTIONS.get(written, ()):
                return []
            return [f"{path}: {self._shown(writer)} cannot be read as {self._shown(reader)}"]
        if written in NAMED and not _same_name(writer, reader):
            names = f"the writer's name {writer['name']} is not {reader['name']}"
            return [f"{path}: {names}; if both mean the same, add an alias to the reader's schema"]
        return self._of_one_kind(written, writer, reader, path=path)

    def _of_one_kind(self, kind: str, writer: Any, reader: Any, path: str) -> list[str]:
        match kind:
            case "record":
                return self._record(writer, reader, path)
            case "array":
                return self._pair(writer["items"], reader["items"], f"{path}[]")
            case "map":
                return self._pair(writer["values"], reader["values"], f"{path}{{}}")
            case "enum":
                return _enum(writer, reader, path)
            case "fixed" if writer["size"] != reader["size"]:
                sizes = f"{writer['size']} bytes cannot be read as {reader['size']} bytes"
                return [f"{path}: {sizes}"]
        return _decimals(writer, reader, path)

    def _record(self, writer: dict[str, Any], reader: dict[str, Any], path: str) -> list[str]:
        pair = (writer["name"], reader["name"])
        if pair in self._open:
            return []  # a type inside itself: the outer comparison finds the reasons
        self._open.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        reasons = []
        for field in reader["fields"]:
            names = [field["name"], *field.get("aliases", ())]
            other = next((written[name] for name in names if name in written), None)
            place = f"{path}.{field['name']}"
            if other is not None:
                reasons += self._pair(other["type"], field["type"], place)
            elif "default" not in field:
                reasons.append(f"{place}: the writer has no such field, and there is no default")
        self._open.discard(pair)
        return reasons

    def _kind(self, schema: Any, named: dict[str, Any]) -> str:
        return kind_of(named.get(schema, schema) if isinstance(schema, str) else schema)

    def _shown(self, schema: Any) -> str:
        if isinstance(schema, dict) and "name" in schema:
            return f"{schema['type']} {schema['name']}"
        return kind_of(schema)


def _record_kind(kind: str) -> str:
    return "record" if kind == "error" else kind


def _same_name(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    aliases = reader.get("aliases", ())
    short = short_name(writer["name"])
    return (
        short == short_name(reader["name"])
        or writer["name"] in aliases
        or short in map(short_name, aliases)
    )


def _enum(writer: dict[str, Any], reader: dict[str, Any], path: str) -> list[str]:
    missing = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if not missing or "default" in reader:
        return []
    return [f"{path}: the reader lacks the symbol {', '.join(missing)}, and has no default"]


def _decimals(writer: Any, reader: Any, path: str) -> list[str]:
    """Compare two decimals: they are read with the reader's scale, which must be the writer's."""
    if _logical(writer) != "decimal" or _logical(reader) != "decimal":
        return []
    precision, scale = writer.get("precision", 0), writer.get("scale", 0)
    reader_precision, reader_scale = reader.get("precision", 0), reader.get("scale", 0)
    if scale == reader_scale and reader_precision >= precision:
        return []
    written = f"{precision} digits and scale {scale}"
    wanted = f"{reader_precision} digits and scale {reader_scale}"
    return [f"{path}: a decimal of {written} cannot be read as one of {wanted}"]


def _logical(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None
