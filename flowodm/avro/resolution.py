"""Reading with another schema than the writer's. Pure.

fastavro resolves field by field, by the Avro specification. Here both schemas are fitted to
each other first, once per writer's schema, for what fastavro and Pydantic cannot know of each
other:

- A reader's field that the writer lacks is taken out of the reader's schema, so that Pydantic
  fills it in: a default keeps its Python type, a factory is called, and a missing one is an
  error with the field's path.
- Two records, or enums, that can only be meant for each other match though their names differ.
- What only Pydantic can judge is read as it was written (``leniency.py``).
- A number is a timestamp where the reader says so and the writer says nothing; and it stays a
  number where only the writer says so.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from flowodm.avro.leniency import more_to_read
from flowodm.avro.logical_types import EXACT
from flowodm.avro.names import named_types, short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_NAMED = frozenset({"record", "error", "enum", "fixed"})
_INNER = {"array": "items", "map": "values"}
_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}

_AS_IT_IS = {
    "timestamp-millis": "timestamp-micros",
    "local-timestamp-millis": "local-timestamp-micros",
    "time-millis": "time-micros",
}
# Only the writer's: a long is not to be read as an int, though Python would not mind.
_AS_LARGER = {**_AS_IT_IS, "int": "long", "float": "double"}


class CannotFitError(Exception):
    """The writer's schema cannot be read as the reader's; the text says why.

    Attributes:
        field: Dotted path of the field at fault, where known.
    """

    def __init__(self, text: str, field: str | None = None) -> None:
        super().__init__(text)
        self.field = field

    def inside(self, field: str) -> CannotFitError:
        """The same, of a field of what this was about."""
        return CannotFitError(str(self), f"{field}.{self.field}" if self.field else field)


def same_shape(writer: Any, reader: Any) -> bool:
    """Tell whether both schemas give every bit the same meaning and every field the same name.

    Documentation, defaults, aliases and namespaces do not count.
    """
    return bool(_shape(writer, _naming(writer)) == _shape(reader, _naming(reader)))


def fit(writer: Any, reader: Any) -> tuple[Any, Any]:
    """The writer's and the reader's schema as they are to be given to fastavro.

    Args:
        writer: The schema that the bytes were written with.
        reader: The schema of the model.

    Both with full names, as fastavro's parse_schema gives them; neither is changed.

    Raises:
        CannotFitError: Resolution would have to guess.
    """
    fitting = _Fitting(deepcopy(writer), deepcopy(reader))
    writer = fitting.fitted_writer()  # first: it finds out what the reader misses
    return writer, fitting.fitted_reader()


def counterparts(writer: Any, reader: Any) -> dict[str, set[str]]:
    """Which of the reader's named types each of the writer's may be read as, by their names.

    Args:
        writer: See :func:`fit`.
        reader: See :func:`fit`.

    Raises:
        CannotFitError: See :func:`fit`.
    """
    fitting = _Fitting(deepcopy(writer), deepcopy(reader))
    fitting.fitted_writer()
    found: dict[str, set[str]] = {}
    for written, read in fitting.pairs:
        found.setdefault(written, set()).add(read)
    return found


def only_drops(writer: Any, reader: Any) -> tuple[str, ...] | None:
    """The writer's fields that the reader lacks, if nothing else is to be resolved; else None.

    Such records are read by the writer's schema alone, which takes fastavro half the time.

    Args:
        writer: As :func:`fit` gives it.
        reader: As :func:`fit` gives it.
    """
    if holds_itself(writer):
        return None  # the fields would have to go at every depth
    written_as, read_as = _naming(writer), _naming(reader)
    wanted = {field["name"]: field["type"] for field in reader["fields"]}
    names = {field["name"] for field in writer["fields"]}
    if not names >= wanted.keys():
        return None  # a field has another name there
    for field in writer["fields"]:
        name, written = field["name"], field["type"]
        if name not in wanted:
            continue
        written_shape, read_shape = _shape(written, written_as), _shape(wanted[name], read_as)
        if written_shape == read_shape:
            continue
        if _in_python(written_shape, _AS_LARGER) != _in_python(read_shape, _AS_IT_IS):
            return None
    return tuple(names - wanted.keys())


def _in_python(shape: Any, same: Mapping[str, str]) -> Any:
    """The shape without differences that a Python value does not show.

    Milliseconds are read as what microseconds are, a decimal knows its own scale, and which type
    of a union was written is known; ``same`` says what else is one.
    """
    if isinstance(shape, list):
        return sorted((_in_python(branch, same) for branch in shape), key=repr)
    if isinstance(shape, str):
        return same.get(shape, shape)
    alike = {key: value for key, value in shape.items() if key not in {"precision", "scale"}}
    for key in ("type", "items", "values", "logicalType"):
        if key in alike:
            alike[key] = _in_python(alike[key], same)
    if "fields" in alike:
        alike["fields"] = [(name, _in_python(kind, same)) for name, kind in alike["fields"]]
    return alike


def holds_itself(schema: dict[str, Any]) -> bool:
    """Tell whether a record may hold records of its own kind, at whatever depth."""

    def refers(part: Any) -> bool:
        if isinstance(part, list):
            return any(refers(branch) for branch in part)
        if isinstance(part, dict):
            inner = (part.get(key) for key in ("items", "values", "type"))
            fields = (field["type"] for field in part.get("fields", ()))
            return any(refers(one) for one in (*inner, *fields))
        return bool(part == schema["name"])

    return any(refers(field["type"]) for field in schema["fields"])


def has_weightless_items(schema: Any) -> bool:
    """Tell whether it has an array whose items take no bytes: its length is what it claims."""
    definitions = named_types(schema)

    def weightless(part: Any, within: frozenset[str]) -> bool:
        part = definitions.get(part, part) if isinstance(part, str) else part
        match part:
            case "null" | {"type": "null"} | {"type": "fixed", "size": 0}:
                return True
            case {"type": "record" | "error", "name": name, "fields": fields}:
                # One that holds itself has a union on the way, or no value at all.
                return name not in within and all(
                    weightless(field["type"], within | {name}) for field in fields
                )
            case {"type": dict() as inner}:
                return weightless(inner, within)
            case _:
                return False

    return any(weightless(items, frozenset()) for items in _items(schema))


def _items(schema: Any) -> Iterator[Any]:
    if isinstance(schema, list):
        for branch in schema:
            yield from _items(branch)
    elif isinstance(schema, dict):
        if schema.get("type") == "array":
            yield schema["items"]
        for inner in ("items", "values", "type"):
            yield from _items(schema.get(inner))
        for field in schema.get("fields", ()):
            yield from _items(field["type"])


def _naming(schema: Any) -> Callable[[str], str]:
    names = named_types(schema)
    ambiguous = len({short_name(name) for name in names}) < len(names)
    return str if ambiguous else short_name


def _shape(schema: Any, name_of: Callable[[str], str]) -> Any:
    if isinstance(schema, list):
        return [_shape(branch, name_of) for branch in schema]
    if isinstance(schema, str):
        return name_of(schema)
    shape: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"type", "items", "values", "name"}:
            shape[key] = _shape(value, name_of)
        elif key in {"symbols", "size", "logicalType", "precision", "scale"} and value != EXACT:
            shape[key] = value
        elif key == "fields":
            shape[key] = [(field["name"], _shape(field["type"], name_of)) for field in value]
    return shape["type"] if shape.keys() == {"type"} else shape


class _Fitting:
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
        """Fit one place of both schemas; gives the writer's side, the reader's is changed."""
        writers = self._definitions(writer, self._writers)
        readers = self._definitions(reader, self._readers)
        for definition in writers:
            kind = _kind(definition)
            if kind in _NAMED:
                alone = _count(kind, writers) == _count(kind, readers) == 1
                meant = [
                    other
                    for other in readers
                    if _kind(other) == kind and (alone or _same_name(definition, other))
                ]
                # Of several with one last part, the one of the same namespace.
                exactly = [other for other in meant if other["name"] == definition["name"]]
                for other in exactly or meant:
                    self._named(definition, other)
        fitted = [self._branch(branch, readers) for branch in _branches(writer)]
        return fitted if isinstance(writer, list) else fitted[0]

    def _widened(self, writer: Any, reader: Any) -> Any:
        more = more_to_read(
            self._definitions(writer, self._writers), self._definitions(reader, self._readers)
        )
        more = [
            one for one in more if not isinstance(one, dict) or one.get("name") not in self._readers
        ]
        return [*_branches(reader), *more] if more else reader

    def _definitions(self, schema: Any, named: dict[str, Any]) -> list[Any]:
        return [self._definition(branch, named) for branch in _branches(schema)]

    def _branch(self, branch: Any, readers: list[Any]) -> Any:
        kind = _kind(self._definition(branch, self._writers))
        if kind in _NAMED:
            return branch
        if kind in _INNER:
            inner = _INNER[kind]
            for reader in readers:
                if _kind(reader) == kind:
                    reader[inner] = self._widened(branch[inner], reader[inner])
                    branch[inner] = self._pair(branch[inner], reader[inner])
            return branch
        return _primitive(branch, kind, readers)

    def _named(self, writer: dict[str, Any], reader: dict[str, Any]) -> None:
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

    def _rebuilt(self, schema: Any, emitted: set[str]) -> Any:
        """The reader without its missing fields; types they defined move to their next use."""
        if isinstance(schema, list):
            return [self._rebuilt(branch, emitted) for branch in schema]
        schema = self._definition(schema, self._readers)
        if isinstance(schema, str) or schema.get("name") in emitted:
            return schema if isinstance(schema, str) else schema["name"]
        emitted.add(schema.get("name", ""))
        rebuilt = dict(schema)
        for inner in ("items", "values", "type"):
            if inner in rebuilt:
                rebuilt[inner] = self._rebuilt(rebuilt[inner], emitted)
        if "fields" in schema:
            present = self._present.get(schema["name"])
            rebuilt["fields"] = [
                {**field, "type": self._rebuilt(field["type"], emitted)}
                for field in schema["fields"]
                if present is None or field["name"] in present
            ]
        return rebuilt

    @staticmethod
    def _definition(schema: Any, named: dict[str, Any]) -> Any:
        return named.get(schema, schema) if isinstance(schema, str) else schema


def _branches(schema: Any) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def _kind(schema: Any) -> str:
    if isinstance(schema, dict):
        return _kind(schema["type"])
    return schema if isinstance(schema, str) else "union"


def _count(kind: str, schemas: list[Any]) -> int:
    return sum(_kind(schema) == kind for schema in schemas)


def _same_name(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    short = short_name(writer["name"])
    aliases = reader.get("aliases", ())
    return short == short_name(reader["name"]) or short in aliases or writer["name"] in aliases


def _logical(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None


def _primitive(writer: Any, kind: str, readers: list[Any]) -> Any:
    for wanted in (kind, *_PROMOTIONS.get(kind, ())):
        for reader in readers:
            if _kind(reader) != wanted:
                continue
            if _logical(reader) is None:
                # fastavro takes the first type of a union that would do, Avro's libraries the
                # writer's own.
                others = any(_kind(other) in _PROMOTIONS.get(kind, ()) for other in readers)
                own = wanted in {kind, "long"} and others and len(readers) > 1
                return {"type": kind, "logicalType": EXACT} if own else kind
            if _logical(writer) is not None:
                return _by_both_marks(writer, reader)
            if wanted != kind:
                raise CannotFitError(f"a plain {kind} cannot be read as {_logical(reader)}")
            return {**reader, "type": kind}
    return writer


def _by_both_marks(writer: dict[str, Any], reader: dict[str, Any]) -> dict[str, Any]:
    """A number that means one thing there and perhaps another here: Pydantic would guess."""
    said, wanted = writer["logicalType"], reader["logicalType"]
    meant = _AS_IT_IS.get(wanted, wanted)
    if _kind(writer) not in {"int", "long"} or _AS_IT_IS.get(said, said) == meant:
        return writer
    in_utc = said.removeprefix("local-")
    if said.startswith("local-timestamp-") and _AS_IT_IS.get(in_utc, in_utc) == meant:
        return {**writer, "logicalType": in_utc}  # what has no zone is taken as UTC
    raise CannotFitError(f"{said} cannot be read as {wanted}")
