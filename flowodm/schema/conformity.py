"""Whether a model and a schema made elsewhere fit each other. Pure.

Stricter than resolution in one way, since messages go both ways; laxer in another, since the
model's Python types are wider than the schema's: an int of 32 bits is an int.
"""

from __future__ import annotations

from typing import Any

from flowodm.avro.parsing import kind_of, logical_of, named_types
from flowodm.schema.results import ValidationResult

_ALIKE = {
    ("long", "int"): None,
    ("int", "long"): None,
    ("float", "double"): None,
    ("double", "float"): "the schema's float keeps 7 digits of the model's",
    ("string", "enum"): "only the schema's symbols can be written",
    ("enum", "string"): "the schema allows texts that are no symbols of the model",
    ("bytes", "fixed"): "only bytes of the schema's length can be written",
    ("fixed", "bytes"): "the schema allows other lengths than the model's",
}
"""What a model may have beside the schema's own type, and what is to be said about it."""

_INTS, _FLOATS = frozenset({"int", "long"}), frozenset({"float", "double"})
_EITHER_BASE = frozenset({"decimal", "uuid"})  # families that come on two types, bytes among them
_FAMILIES = {
    "timestamp-millis": "timestamp",
    "timestamp-micros": "timestamp",
    "local-timestamp-millis": "local timestamp",
    "local-timestamp-micros": "local timestamp",
    "time-millis": "time",
    "time-micros": "time",
    "date": "date",
    "uuid": "uuid",
    "decimal": "decimal",
    "timedelta-micros": "timedelta",
}


def conformity(own: Any, schema: Any, texts: frozenset[str] = frozenset()) -> ValidationResult:
    """Compare a model with a schema.

    Args:
        own: The model's schema, as :func:`flowodm.avro.parsing.parsed` gives it.
        schema: The other one, likewise.
        texts: The names of those of the model's enums whose members are str: only these can be
            written as plain texts.
    """
    walk = _Walk(named_types(own), named_types(schema), texts, frozenset())
    walk.values(own, schema, "")
    return ValidationResult(not walk.errors, walk.errors, walk.warnings)


class _Walk:
    def __init__(
        self,
        own: dict[str, Any],
        schema: dict[str, Any],
        texts: frozenset[str],
        seen: frozenset[tuple[str, str]],
    ) -> None:
        self._own = own
        self._schema = schema
        self._texts = texts
        self._seen = set(seen)
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def values(self, own: Any, schema: Any, path: str) -> None:
        owns = self._branches(own, self._own)
        schemas = self._branches(schema, self._schema)
        self._nulls(owns, schemas, path)
        owns = [branch for branch in owns if branch != "null"]
        schemas = [branch for branch in schemas if branch != "null"]
        if _has(_FLOATS, owns) and not _has(_INTS, schemas):
            # A model of int and float writes an int as a float where it must.
            owns = [branch for branch in owns if _kind(branch) not in _INTS]
        if len(owns) == len(schemas) == 1:
            self._single(owns[0], schemas[0], path)
            return
        for branch in owns:
            if not any(self._fit(branch, other) for other in schemas):
                self.errors.append(f"{path}: the schema has no {_shown(branch)}")
        for branch in schemas:
            # A model with float reads an int as one.
            as_float = _has(_FLOATS, owns) and _kind(branch) in _INTS and _family(branch) is None
            if not as_float and not any(self._fit(other, branch) for other in owns):
                self.errors.append(f"{path}: the model has no {_shown(branch)}")

    def _nulls(self, owns: list[Any], schemas: list[Any], path: str) -> None:
        nullable = ("null" in owns, "null" in schemas)
        if nullable == (True, False):
            self.warnings.append(f"{path}: the model allows None, the schema does not")
        elif nullable == (False, True):
            self.warnings.append(f"{path}: the schema allows null, the model does not")

    def _fit(self, own: Any, schema: Any) -> bool:
        """Compare aside: what is found says only that these two are not meant."""
        aside = _Walk(self._own, self._schema, self._texts, frozenset(self._seen))
        aside._single(own, schema, "")
        return not aside.errors

    def _single(self, own: Any, schema: Any, path: str) -> None:
        mine, theirs = _kind(own), _kind(schema)
        family = _family(own)
        if (mine, family, _family(schema)) == ("string", None, "uuid") and theirs == "string":
            self.warnings.append(f"{path}: only texts that are UUIDs can be written")
            return
        either = family in _EITHER_BASE
        alike = mine == theirs or either or (mine, theirs) in _ALIKE
        if (mine, theirs) == ("enum", "string"):
            alike = own["name"] in self._texts
        if family != _family(schema) or not alike:
            self.errors.append(f"{path}: the model has {_shown(own)}, the schema {_shown(schema)}")
            return
        warning = None if either else _ALIKE.get((mine, theirs))
        if warning is not None:
            self.warnings.append(f"{path}: {warning}")
        if mine == theirs:
            self._inside(theirs, own, schema, path)
        self._details(own, schema, path)

    def _inside(self, kind: str, own: Any, schema: Any, path: str) -> None:
        match kind:
            case "record":
                self._records(own, schema, path)
            case "array":
                self.values(own["items"], schema["items"], f"{path}[]")
            case "map":
                self.values(own["values"], schema["values"], f"{path}{{}}")
            case "enum":
                self._symbols(own, schema, path)
            case "fixed" if own["size"] != schema["size"]:
                sizes = f"the model has {own['size']} bytes, the schema {schema['size']}"
                self.errors.append(f"{path}: {sizes}")
            case _:
                pass

    def _records(self, own: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        pair = (own["name"], schema["name"])
        if pair in self._seen:
            return
        self._seen.add(pair)
        mine = {name: f for f in own["fields"] for name in (*f.get("aliases", ()), f["name"])}
        missing = {field["name"] for field in own["fields"]}
        for field in schema["fields"]:
            place = f"{path}.{field['name']}".lstrip(".")
            other = mine.get(field["name"])
            if other is not None:
                missing.discard(other["name"])
                self.values(other["type"], field["type"], place)
            elif "default" in field or "null" in self._branches(field["type"], self._schema):
                self.warnings.append(f"{place}: the model lacks this optional field")
            else:
                self.errors.append(f"{place}: the model lacks this field, which has no default")
        for field in own["fields"]:
            if field["name"] in missing:
                place = f"{path}.{field['name']}".lstrip(".")
                self.errors.append(f"{place}: the schema lacks this field, so it would be lost")

    def _symbols(self, own: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        for side, other, whose in ((own, schema, "schema"), (schema, own, "model")):
            missing = [symbol for symbol in side["symbols"] if symbol not in other["symbols"]]
            if missing:
                self.errors.append(f"{path}: the {whose} lacks the symbol {', '.join(missing)}")

    def _details(self, own: Any, schema: Any, path: str) -> None:
        if not isinstance(own, dict) or not isinstance(schema, dict):
            return
        mine, theirs = str(own.get("logicalType")), str(schema.get("logicalType"))
        if mine.endswith("-micros") and theirs.endswith("-millis"):
            self.warnings.append(f"{path}: the schema has milliseconds, so microseconds are cut")
        if mine == theirs == "decimal":
            self._decimals(own, schema, path)

    def _decimals(self, own: Any, schema: Any, path: str) -> None:
        mine, theirs = ((d["precision"], d.get("scale", 0)) for d in (own, schema))
        if mine[1] != theirs[1] or mine[0] > theirs[0]:
            self.errors.append(
                f"{path}: the model's decimal has {mine[0]} digits, {mine[1]} of them decimal "
                f"places; the schema's {theirs[0]} and {theirs[1]}"
            )
        elif mine[0] < theirs[0]:
            self.warnings.append(
                f"{path}: the schema's decimal has {theirs[0]} digits, the model's {mine[0]}"
            )

    @staticmethod
    def _branches(schema: Any, named: dict[str, Any]) -> list[Any]:
        branches = schema if isinstance(schema, list) else [schema]
        found = [named.get(b, b) if isinstance(b, str) else b for b in branches]
        return ["null" if kind_of(branch) == "null" else branch for branch in found]


def _kind(schema: Any) -> str:
    kind = kind_of(schema)
    return "record" if kind == "error" else kind


def _has(kinds: frozenset[str], branches: list[Any]) -> bool:
    return any(_kind(branch) in kinds for branch in branches)


def _family(schema: Any) -> str | None:
    return _FAMILIES.get(logical_of(schema) or "")


def _shown(schema: Any) -> str:
    family = _family(schema)
    kind = kind_of(schema)
    return kind if family is None else f"{family} ({kind})"
