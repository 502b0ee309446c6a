"""Whether records of one schema can be read with another, and why not. Pure.

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


def obstacles(writer: Any, reader: Any) -> list[str]:
    """Why records that ``writer`` wrote cannot be read with ``reader``; empty if they can.

    Args:
        writer: A schema as :func:`flowodm.avro.parsing.parsed` gives it.
        reader: Another one.

    Returns:
        One sentence a place, which begins with the path to it.
    """
    return _Comparison(writer, reader).all()


class _Comparison:
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
            return [found for branch in writer for found in self._pair(branch, reader, path)]
        if isinstance(reader, list):
            return self._into_union(writer, reader, path)
        return self._single(writer, reader, path)

    def _into_union(self, writer: Any, branches: list[Any], path: str) -> list[str]:
        refused: list[list[str]] = []
        for branch in branches:
            found = self._pair(writer, branch, path)
            if not found:
                return []
            refused.append(found)
        # Where only one branch is of this kind, what is wrong with that one says more.
        same = [
            found
            for branch, found in zip(branches, refused, strict=True)
            if self._kind(branch, self._readers) == kind_of(writer)
        ]
        if len(same) == 1:
            return same[0]
        shown = ", ".join(self._shown(branch) for branch in branches)
        return [f"{path}: {self._shown(writer)} is written, and the reader has only {shown}"]

    def _single(self, writer: Any, reader: Any, path: str) -> list[str]:
        written, wanted = kind_of(writer), kind_of(reader)
        written, wanted = (_record_kind(kind) for kind in (written, wanted))
        if written != wanted:
            if wanted in _PROMOTIONS.get(written, ()):
                return []
            return [f"{path}: {self._shown(writer)} cannot be read as {self._shown(reader)}"]
        if written in NAMED and not _same_name(writer, reader):
            return [f"{path}: {writer['name']} is not {reader['name']}; an alias would say it is"]
        return self._of_one_kind(written, writer, reader, path)

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
                return [f"{path}: {writer['size']} bytes are not {reader['size']}"]
        return _decimals(writer, reader, path)

    def _record(self, writer: dict[str, Any], reader: dict[str, Any], path: str) -> list[str]:
        pair = (writer["name"], reader["name"])
        if pair in self._open:
            return []  # a type within itself: the outer comparison tells
        self._open.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        found = []
        for field in reader["fields"]:
            names = [field["name"], *field.get("aliases", ())]
            other = next((written[name] for name in names if name in written), None)
            place = f"{path}.{field['name']}"
            if other is not None:
                found += self._pair(other["type"], field["type"], place)
            elif "default" not in field:
                found.append(f"{place}: the writer has no such field, and there is no default")
        self._open.discard(pair)
        return found

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
    """Numbers are read with the reader's scale: another one would move the point."""
    sides = [side if isinstance(side, dict) else {} for side in (writer, reader)]
    if any(side.get("logicalType") != "decimal" for side in sides):
        return []
    written, wanted = ((side.get("precision", 0), side.get("scale", 0)) for side in sides)
    if written[1] == wanted[1] and wanted[0] >= written[0]:
        return []
    digits = [f"{precision} digits and scale {scale}" for precision, scale in (written, wanted)]
    return [f"{path}: a decimal of {digits[0]} cannot be read as one of {digits[1]}"]
