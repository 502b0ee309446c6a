"""Compare a model with a schema made elsewhere. Pure.

This is stricter than resolution in one way, since messages go both ways. It is less strict in
another, since the model's Python types are wider than the schema's: an int of 32 bits is an int.
"""

from __future__ import annotations

from typing import Any

from flowodm.avro.parsing import kind_of, logical_of, named_types
from flowodm.schema.results import ValidationResult

_ALIKE = {
    ("long", "int"): None,
    ("int", "long"): None,
    ("float", "double"): None,
    ("double", "float"): "the schema's float keeps 7 digits, fewer than the model's",
    ("string", "enum"): "only the schema's symbols can be written",
    ("enum", "string"): "the schema allows strings that are not symbols of the model's enum",
    ("bytes", "fixed"): "only bytes of the schema's length can be written",
    ("fixed", "bytes"): "the schema allows other lengths than the model's",
}
"""The pairs of a model's type and another type of the schema that fit, each with its warning."""

_INTS, _FLOATS = frozenset({"int", "long"}), frozenset({"float", "double"})

_EITHER_BASE = frozenset({"decimal", "uuid"})
"""Families that are written as one of two types; bytes is among them."""

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
"""What each logical type means, whatever its unit."""


def conformity(
    model_schema: Any, schema: Any, text_enums: frozenset[str] = frozenset()
) -> ValidationResult:
    """Compare a model with a schema.

    Args:
        model_schema: The model's schema, as :func:`flowodm.avro.parsing.parsed` gives it.
        schema: The other schema, likewise.
        text_enums: The names of the model's enums whose members are str: only these can be
            written as plain strings.
    """
    comparison = _Comparison(named_types(model_schema), named_types(schema), text_enums)
    comparison.values(model_schema, schema, "")
    return ValidationResult(not comparison.errors, comparison.errors, comparison.warnings)


class _Comparison:
    """One walk over both schemas that collects errors and warnings."""

    def __init__(
        self,
        model_types: dict[str, Any],
        schema_types: dict[str, Any],
        text_enums: frozenset[str],
        compared: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self._model_types = model_types
        self._schema_types = schema_types
        self._text_enums = text_enums
        self._compared = set(compared)
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def values(self, model: Any, schema: Any, path: str) -> None:
        """Compare the types of one place, which may be unions."""
        models = _branches(model, self._model_types)
        schemas = _branches(schema, self._schema_types)
        self._nulls(models, schemas, path)
        models = [branch for branch in models if branch != "null"]
        schemas = [branch for branch in schemas if branch != "null"]
        if _has(_FLOATS, models) and not _has(_INTS, schemas):
            # A model of int and float writes an int as a float if the schema has no int.
            models = [branch for branch in models if _kind(branch) not in _INTS]
        if len(models) == len(schemas) == 1:
            self._single(models[0], schemas[0], path)
        else:
            self._unions(models, schemas, path)

    def _nulls(self, models: list[Any], schemas: list[Any], path: str) -> None:
        nullable = ("null" in models, "null" in schemas)
        if nullable == (True, False):
            self.warnings.append(f"{path}: the model allows None, the schema does not")
        elif nullable == (False, True):
            self.warnings.append(f"{path}: the schema allows null, the model does not")

    def _unions(self, models: list[Any], schemas: list[Any], path: str) -> None:
        for model in models:
            if not any(self._fit(model, schema) for schema in schemas):
                self.errors.append(f"{path}: the schema has no {_shown(model)}")
        model_has_float = _has(_FLOATS, models)
        for schema in schemas:
            # A model with float reads an int as one.
            read_as_float = model_has_float and _is_plain_int(schema)
            if not read_as_float and not any(self._fit(model, schema) for model in models):
                self.errors.append(f"{path}: the model has no {_shown(schema)}")

    def _fit(self, model: Any, schema: Any) -> bool:
        """Tell whether two branches fit, without recording why they do not."""
        aside = _Comparison(
            self._model_types,
            self._schema_types,
            self._text_enums,
            compared=frozenset(self._compared),
        )
        aside._single(model, schema, "")
        return not aside.errors

    def _single(self, model: Any, schema: Any, path: str) -> None:
        if _is_uuid_for_string(model, schema):
            self.warnings.append(f"{path}: only strings that are UUIDs can be written")
            return
        if not self._alike(model, schema):
            self.errors.append(
                f"{path}: the model has {_shown(model)}, the schema {_shown(schema)}"
            )
            return
        model_kind, schema_kind = _kind(model), _kind(schema)
        warning = _ALIKE.get((model_kind, schema_kind))
        if warning is not None and _family(model) not in _EITHER_BASE:
            self.warnings.append(f"{path}: {warning}")
        if model_kind == schema_kind:
            self._inside(schema_kind, model, schema, path=path)
        self._details(model, schema, path)

    def _alike(self, model: Any, schema: Any) -> bool:
        """Tell whether values of the one type can be written as the other."""
        family = _family(model)
        if family != _family(schema):
            return False
        kinds = (_kind(model), _kind(schema))
        if kinds == ("enum", "string"):
            return model["name"] in self._text_enums
        return kinds[0] == kinds[1] or family in _EITHER_BASE or kinds in _ALIKE

    def _inside(self, kind: str, model: Any, schema: Any, path: str) -> None:
        match kind:
            case "record":
                self._records(model, schema, path)
            case "array":
                self.values(model["items"], schema["items"], f"{path}[]")
            case "map":
                self.values(model["values"], schema["values"], f"{path}{{}}")
            case "enum":
                self._symbols(model, schema, path)
            case "fixed" if model["size"] != schema["size"]:
                sizes = f"the model has {model['size']} bytes, the schema {schema['size']}"
                self.errors.append(f"{path}: {sizes}")
            case _:
                pass

    def _records(self, model: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        pair = (model["name"], schema["name"])
        if pair in self._compared:
            return
        self._compared.add(pair)
        by_name: dict[str, Any] = {}
        for field in model["fields"]:
            for name in (*field.get("aliases", ()), field["name"]):
                by_name[name] = field
        lost = {field["name"] for field in model["fields"]}
        for field in schema["fields"]:
            model_field = by_name.get(field["name"])
            if model_field is None:
                self._unknown_field(field, _join(path, field))
            else:
                lost.discard(model_field["name"])
                self.values(model_field["type"], field["type"], _join(path, field))
        for field in model["fields"]:
            if field["name"] in lost:
                place = _join(path, field)
                self.errors.append(f"{place}: the schema lacks this field, so it would be lost")

    def _unknown_field(self, field: dict[str, Any], place: str) -> None:
        """Record a field of the schema that the model lacks."""
        if "default" in field or "null" in _branches(field["type"], self._schema_types):
            self.warnings.append(f"{place}: the model lacks this optional field")
        else:
            self.errors.append(f"{place}: the model lacks this field, which has no default")

    def _symbols(self, model: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        for side, other, whose in ((model, schema, "schema"), (schema, model, "model")):
            missing = [symbol for symbol in side["symbols"] if symbol not in other["symbols"]]
            if missing:
                self.errors.append(f"{path}: the {whose} lacks the symbol {', '.join(missing)}")

    def _details(self, model: Any, schema: Any, path: str) -> None:
        if not isinstance(model, dict) or not isinstance(schema, dict):
            return
        model_mark, schema_mark = str(model.get("logicalType")), str(schema.get("logicalType"))
        if model_mark.endswith("-micros") and schema_mark.endswith("-millis"):
            self.warnings.append(f"{path}: the schema has milliseconds, so microseconds are lost")
        if model_mark == schema_mark == "decimal":
            self._decimals(model, schema, path)

    def _decimals(self, model: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        digits, schema_digits = model["precision"], schema["precision"]
        places, schema_places = model.get("scale", 0), schema.get("scale", 0)
        if places != schema_places or digits > schema_digits:
            self.errors.append(
                f"{path}: the model's decimal has {digits} digits, {places} of them decimal "
                f"places; the schema's has {schema_digits} and {schema_places}"
            )
        elif digits < schema_digits:
            self.warnings.append(
                f"{path}: the schema's decimal has {schema_digits} digits, the model's {digits}"
            )


def _join(path: str, field: dict[str, Any]) -> str:
    return f"{path}.{field['name']}".lstrip(".")


def _branches(schema: Any, named: dict[str, Any]) -> list[Any]:
    """Return the definitions of a union's branches, or of the only type."""
    branches = []
    for branch in schema if isinstance(schema, list) else [schema]:
        definition = named.get(branch, branch) if isinstance(branch, str) else branch
        branches.append("null" if kind_of(definition) == "null" else definition)
    return branches


def _kind(schema: Any) -> str:
    kind = kind_of(schema)
    return "record" if kind == "error" else kind


def _has(kinds: frozenset[str], branches: list[Any]) -> bool:
    return any(_kind(branch) in kinds for branch in branches)


def _is_plain_int(schema: Any) -> bool:
    return _kind(schema) in _INTS and _family(schema) is None


def _is_uuid_for_string(model: Any, schema: Any) -> bool:
    """Tell whether the schema has a UUID where the model has a plain str."""
    both_strings = _kind(model) == _kind(schema) == "string"
    return both_strings and _family(model) is None and _family(schema) == "uuid"


def _family(schema: Any) -> str | None:
    return _FAMILIES.get(logical_of(schema) or "")


def _shown(schema: Any) -> str:
    family = _family(schema)
    kind = kind_of(schema)
    return kind if family is None else f"{family} ({kind})"
