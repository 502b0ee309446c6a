"""From a model's values to what fastavro writes, compiled once per schema. Pure.

fastavro alone would read naive datetimes in the machine's zone, cut 1.7 down to the long 1,
write any object as a boolean, and try a union's branches one by one. Here the schema decides,
and a value that does not fit is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, EnumType
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flowodm.avro.logical_types import TUPLE, Convert, logical_writer, python_types
from flowodm.avro.names import full_name, short_name, symbol_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_CLASSES: Mapping[str, type] = MappingProxyType({})

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1


def compile_writer(schema: dict[str, Any], classes: Mapping[str, type] = _NO_CLASSES) -> Convert:
    """A function from a model to the dictionary that fastavro writes with this schema.

    Args:
        schema: A record's schema with full names, as fastavro's parse_schema gives it.
        classes: The enums behind its named types, by their full names: of a model with
            ``use_enum_values`` there comes a member's value, which need not be its symbol.

    The function raises TypeError or ValueError, with the field's path, for a value that the
    schema does not allow.
    """
    return _Compiler(classes).record(schema)


def physical(schema: Any) -> Any:
    """The schema without the logical types that this module converts: the same bytes, faster."""
    if isinstance(schema, list):
        return [physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    plain = dict(schema)
    if logical_writer(schema) is not None:
        if schema["type"] != "fixed":
            return schema["type"]
        del plain["logicalType"]
    for key in ("items", "values", "type"):
        if key in plain:
            plain[key] = physical(plain[key])
    if "fields" in plain:
        plain["fields"] = [{**field, "type": physical(field["type"])} for field in schema["fields"]]
    return plain


def _allows_null(schema: Any) -> bool:
    return schema == "null" or (isinstance(schema, list) and "null" in schema)


class _Compiler:
    def __init__(self, classes: Mapping[str, type]) -> None:
        self._classes = classes
        self._named: dict[str, Convert] = {}
        self._schemas: dict[str, Any] = {}

    def record(self, schema: dict[str, Any]) -> Convert:
        writer = _RecordWriter(schema["name"])
        self._named[schema["name"]] = writer
        writer.fields = {field["name"]: self._value(field["type"]) for field in schema["fields"]}
        # A field that the model lacks is written as its default, else as null.
        writer.optional = {
            field["name"]
            for field in schema["fields"]
            if "default" in field or _allows_null(field["type"])
        }
        return writer

    def _value(self, schema: Any) -> Convert | None:
        """The conversion of one value; None where fastavro takes it as it is."""
        if isinstance(schema, list):
            converts = [self._value(branch) for branch in schema]  # first: it learns the names
            full = [self._schemas.get(b, b) if isinstance(b, str) else b for b in schema]
            return _UnionWriter(list(zip(full, converts, strict=True)))
        if isinstance(schema, str):
            return _PRIMITIVES.get(schema) or self._named.get(schema)
        if "name" in schema:
            self._schemas[schema["name"]] = schema
        if schema["type"] in ("array", "map", "enum", "fixed", "record", "error"):
            return self._complex(schema)
        # A mark that is not known here means nothing: Avro's rule.
        return logical_writer(schema) or self._value(schema["type"])

    def _complex(self, schema: dict[str, Any]) -> Convert | None:
        match schema["type"]:
            case "array":
                return _array(self._value(schema["items"]))
            case "map":
                return _map(self._value(schema["values"]))
            case "enum":
                convert: Convert | None = _EnumWriter(
                    schema["symbols"], self._classes.get(schema["name"])
                )
            case "fixed":
                convert = logical_writer(schema)
            case _ if schema.get("logicalType") == TUPLE:
                return self._tuple(schema)
            case _:
                return self.record(schema)
        if convert is not None:
            self._named[schema["name"]] = convert
        return convert

    def _tuple(self, schema: dict[str, Any]) -> Convert:
        writer = _TupleWriter()
        self._named[schema["name"]] = writer
        writer.items = [(field["name"], self._value(field["type"])) for field in schema["fields"]]
        return writer


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one class is written by one record's schema.

    Attributes:
        copies: The model's own dictionary can be copied: its names are the schema's.
        steps: Avro field, attribute, and conversion of what a copy does not do.
        open: The class takes fields that it does not declare.
    """

    copies: bool
    steps: tuple[tuple[str, str, Convert | None], ...]
    open: bool


class _RecordWriter:
    """Turns models into dictionaries; one plan per class, made when the class first comes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, Convert | None] = {}
        self.optional: set[str] = set()
        self._plans: dict[type, _Plan] = {}

    def __call__(self, message: Any) -> dict[str, Any]:
        cls = type(message)
        plan = self._plans.get(cls) or self._plan(cls)
        if plan.open and message.__pydantic_extra__:
            extra = ", ".join(message.__pydantic_extra__)
            raise TypeError(f"the schema has no field for what {cls.__name__} has besides: {extra}")
        held = message.__dict__
        values = held.copy() if plan.copies else {}
        for name, attribute, convert in plan.steps:
            try:
                value = held[attribute]
                values[name] = convert(value) if convert else value
            except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
                raise _at(attribute, error) from None
        return values

    def _plan(self, cls: type) -> _Plan:
        if not issubclass(cls, BaseModel):
            raise TypeError(f"{cls.__name__} is no model")
        steps = []
        for name, convert in self.fields.items():
            attribute = self._attribute(cls, name)
            if attribute is not None:
                steps.append((name, attribute, convert))
        copies = all(name == attribute for name, attribute, _ in steps)
        if copies:  # the copied dictionary already holds what needs no conversion
            steps = [step for step in steps if step[2] is not None]
        self._plans[cls] = _Plan(copies, tuple(steps), cls.model_config.get("extra") == "allow")
        return self._plans[cls]

    def _attribute(self, cls: type[BaseModel], name: str) -> str | None:
        """Return the model's name for a field of the schema; None if the model lacks it."""
        if name in cls.model_fields:
            return name
        for attribute, info in cls.model_fields.items():
            if info.alias == name:
                return attribute
        if name not in self.optional:
            raise TypeError(f"{cls.__name__} lacks the field {name} of schema {self.name}")
        return None


class _TupleWriter:
    """Turns tuples into dictionaries, for a record that stands for a tuple."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Convert | None]] = []

    def __call__(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, tuple) or len(value) != len(self.items):
            raise TypeError(f"{type(value).__name__} is no tuple of {len(self.items)} items")
        values = {}
        for index, (name, convert) in enumerate(self.items):
            try:
                values[name] = convert(value[index]) if convert else value[index]
            except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
                raise _at(str(index), error) from None
        return values


class _EnumWriter:
    """Turns members into their symbols; what is a symbol already stays."""

    def __init__(self, symbols: list[str], cls: type | None = None) -> None:
        self._symbols = frozenset(symbols)
        members: list[Enum] = list(cls) if isinstance(cls, EnumType) else []
        self._by_text = {
            member.value: symbol_of(member) for member in members if isinstance(member.value, str)
        }

    def __call__(self, value: Any) -> str:
        symbol = value.value if isinstance(value, Enum) else value
        if type(symbol) is str and symbol in self._symbols:
            return symbol
        if isinstance(value, Enum):
            symbol = symbol_of(value)
        elif type(value) is str:
            symbol = self._by_text.get(value)
        if type(symbol) is str and symbol in self._symbols:
            return symbol
        raise ValueError(f"is none of the symbols {', '.join(sorted(self._symbols))}")


class ValueAtError(ValueError):
    """A value that its schema does not allow; ``path`` leads to it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


def _at(name: str, error: Exception) -> ValueAtError:
    if isinstance(error, ValueAtError):
        return ValueAtError(f"{name}.{error.path}", str(error))
    reason = "has no value" if isinstance(error, KeyError) else str(error)
    return ValueAtError(name, reason)


class _UnionWriter:
    """Picks the branch by the value's Python type and names it, so that fastavro need not try."""

    def __init__(self, branches: list[tuple[Any, Convert | None]]) -> None:
        self._by_type: dict[type, tuple[str, Convert | None]] = {}
        self._by_name: dict[str, tuple[str, Convert | None]] = {}
        # A mark says more than a type: a tuple's record goes before an array.
        for schema, convert in sorted(branches, key=lambda branch: not _logical(branch[0])):
            name = _branch_name(schema)
            self._by_name[name] = (name, convert)
            self._by_name.setdefault(short_name(name), (name, convert))
            for python_type in _python_types(schema, name):
                self._by_type.setdefault(python_type, (name, convert))
        for schema, convert in branches:
            # A model with use_enum_values holds the text, one with str the text of a UUID.
            if isinstance(convert, _EnumWriter) or _base(schema) == "string":
                self._by_type.setdefault(str, (_branch_name(schema), convert))
        # The only record is meant for a model of any name, as in reading.
        alone = [(_branch_name(s), c) for s, c in branches if isinstance(c, _RecordWriter)]
        if len(alone) == 1:
            self._by_type.setdefault(BaseModel, alone[0])

    def __call__(self, value: Any) -> Any:
        cls = type(value)
        name, convert = self._by_type.get(cls) or self._find(cls)
        if value is None:
            return None
        return (name, convert(value) if convert else value)

    def _find(self, cls: type) -> tuple[str, Convert | None]:
        for base in cls.__mro__:
            branch = self._by_type.get(base) or self._by_class_name(base)
            if branch is not None:
                self._by_type[cls] = branch
                return branch
        if issubclass(cls, Enum) and len(cls):
            return self._find(type(next(iter(cls)).value))  # an Enum of ints is a long
        if issubclass(cls, int) and float in self._by_type:
            return self._by_type[float]
        allowed = sorted({name for name, _ in self._by_name.values()})
        raise TypeError(f"{cls.__name__} is none of {', '.join(allowed)}")

    def _by_class_name(self, cls: type) -> tuple[str, Convert | None] | None:
        if not issubclass(cls, BaseModel | Enum):
            return None
        name = full_name(cls)
        return self._by_name.get(name) or self._by_name.get(short_name(name))


def _branch_name(schema: Any) -> str:
    if isinstance(schema, dict):
        return str(schema.get("name") or schema["type"])
    return str(schema)


def _base(schema: Any) -> Any:
    return schema["type"] if isinstance(schema, dict) else schema


def _logical(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None


def _python_types(schema: Any, name: str) -> tuple[type, ...]:
    if isinstance(schema, dict) and schema["type"] == "fixed":
        name = "bytes"
    return python_types(_logical(schema)) or _PYTHON_TYPES.get(name, ())


def _array(item: Convert | None) -> Convert | None:
    if item is None:
        return None
    return lambda values: [item(value) for value in values]


def _map(item: Convert | None) -> Convert | None:
    if item is None:
        return None
    return lambda values: {key: item(value) for key, value in values.items()}


def _long(value: Any) -> int:
    if not isinstance(value, int):
        if not isinstance(value, Enum):
            raise TypeError(f"{type(value).__name__} is no int")
        return _long(value.value)
    if not _LONG_MIN <= value <= _LONG_MAX:
        raise ValueError("the number does not fit Avro's long of 64 bits")
    return value


def _int(value: Any) -> int:
    number = _long(value)
    if not _INT_MIN <= number <= _INT_MAX:
        raise ValueError("the number does not fit Avro's int of 32 bits")
    return number


def _double(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no float")


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise TypeError(f"{type(value).__name__} is no bool")


_PRIMITIVES: dict[str, Convert] = {
    "int": _int,
    "long": _long,
    "float": _double,
    "double": _double,
    "boolean": _truth,
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (float,),
    "double": (float,),
    "string": (str,),
    "bytes": (bytes,),
    "array": (list, set, frozenset, tuple),
    "map": (dict,),
}
