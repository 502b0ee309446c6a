"""From a model's values to what fastavro writes, compiled once per schema. Pure.

fastavro alone would read naive datetimes in the machine's zone, cut 1.7 down to the long 1,
write any object as a boolean, and try a union's branches one by one. Here the schema decides,
and a value that does not fit is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

from pydantic import BaseModel

from flowodm.avro.names import full_name, short_name

Convert: TypeAlias = Callable[[Any], Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1
_EPOCH_DAY = EPOCH.toordinal()


def compile_writer(schema: dict[str, Any]) -> Convert:
    """A function from a model to the dictionary that fastavro writes with this schema.

    Args:
        schema: A record's schema with full names, as fastavro's parse_schema gives it.

    The function raises TypeError or ValueError, with the field's path, for a value that the
    schema does not allow.
    """
    return _Compiler().record(schema)


def physical(schema: Any) -> Any:
    """The schema without the logical types that this module converts: the same bytes, faster."""
    if isinstance(schema, list):
        return [physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    match schema:
        case {"type": str(base), "logicalType": str(logical)} if (base, logical) in LOGICAL_WRITERS:
            return base
    return {
        key: [{**field, "type": physical(field["type"])} for field in value]
        if key == "fields"
        else physical(value)
        if key in {"items", "values"} or (key == "type" and not isinstance(value, str))
        else value
        for key, value in schema.items()
    }


class _Compiler:
    def __init__(self) -> None:
        self._named: dict[str, Convert] = {}

    def record(self, schema: dict[str, Any]) -> Convert:
        writer = _RecordWriter(schema["name"])
        self._named[schema["name"]] = writer
        writer.fields = {field["name"]: self._value(field["type"]) for field in schema["fields"]}
        writer.optional = {field["name"] for field in schema["fields"] if "default" in field}
        return writer

    def _value(self, schema: Any) -> Convert | None:
        """The conversion of one value; None where fastavro takes it as it is."""
        if isinstance(schema, list):
            return _UnionWriter([(branch, self._value(branch)) for branch in schema])
        if isinstance(schema, str):
            return _PRIMITIVES.get(schema) or self._named.get(schema)
        if "logicalType" in schema:
            # A logical type that is not ours stays in the schema, for fastavro to convert.
            return LOGICAL_WRITERS.get((schema["type"], schema["logicalType"]))
        return self._complex(schema)

    def _complex(self, schema: dict[str, Any]) -> Convert | None:
        match schema["type"]:
            case "record" | "error":
                return self.record(schema)
            case "enum":
                self._named[schema["name"]] = _symbol
                return _symbol
            case "array":
                return _array(self._value(schema["items"]))
            case "map":
                return _map(self._value(schema["values"]))
            case "fixed":
                return None
            case inner:
                return self._value(inner)


class _RecordWriter:
    """Turns models into dictionaries; one plan per class, made when the class first comes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, Convert | None] = {}
        self.optional: set[str] = set()
        self._plans: dict[type, tuple[bool, tuple[tuple[str, str, Convert | None], ...]]] = {}

    def __call__(self, message: Any) -> dict[str, Any]:
        cls = type(message)
        same_names, steps = self._plans.get(cls) or self._plan(cls)
        held = message.__dict__
        values = held.copy() if same_names else {}
        for name, attribute, convert in steps:
            try:
                value = held[attribute]
                values[name] = convert(value) if convert else value
            except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
                raise _at(attribute, error) from None
        return values

    def _plan(self, cls: type) -> tuple[bool, tuple[tuple[str, str, Convert | None], ...]]:
        if not issubclass(cls, BaseModel):
            raise TypeError(f"{cls.__name__} is no model")
        by_alias = {info.alias: name for name, info in cls.model_fields.items() if info.alias}
        steps = []
        for name, convert in self.fields.items():
            attribute = name if name in cls.model_fields else by_alias.get(name)
            if attribute is not None:
                steps.append((name, attribute, convert))
            elif name not in self.optional:
                raise TypeError(f"{cls.__name__} lacks the field {name} of schema {self.name}")
        same_names = all(name == attribute for name, attribute, _ in steps)
        if same_names:  # the copied dictionary already holds what needs no conversion
            steps = [step for step in steps if step[2] is not None]
        self._plans[cls] = (same_names, tuple(steps))
        return self._plans[cls]


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
        for schema, convert in branches:
            name = _branch_name(schema)
            self._by_name[name] = (name, convert)
            self._by_name.setdefault(short_name(name), (name, convert))
            for python_type in _python_types(schema, name):
                self._by_type.setdefault(python_type, (name, convert))

    def __call__(self, value: Any) -> Any:
        cls = type(value)
        name, convert = self._by_type.get(cls) or self._find(cls)
        if value is None:
            return None
        return (name, convert(value) if convert else value)

    def _find(self, cls: type) -> tuple[str, Convert | None]:
        for base in cls.__mro__:
            found = self._by_type.get(base)
            if found is None and issubclass(base, BaseModel | Enum):
                name = full_name(base)
                found = self._by_name.get(name) or self._by_name.get(short_name(name))
            if found is not None:
                self._by_type[cls] = found
                return found
        if issubclass(cls, int) and float in self._by_type:
            return self._by_type[float]
        allowed = sorted({name for name, _ in self._by_name.values()})
        raise TypeError(f"{cls.__name__} is none of {', '.join(allowed)}")


def _branch_name(schema: Any) -> str:
    if isinstance(schema, dict):
        return str(schema.get("name") or schema["type"])
    return str(schema)


def _python_types(schema: Any, name: str) -> tuple[type, ...]:
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    return _LOGICAL_TYPES.get(logical) or _PYTHON_TYPES.get(name, ())


def _array(item: Convert | None) -> Convert | None:
    if item is None:
        return None
    return lambda values: [item(value) for value in values]


def _map(item: Convert | None) -> Convert | None:
    if item is None:
        return None
    return lambda values: {key: item(value) for key, value in values.items()}


def _symbol(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _long(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no int")
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


def _micros(value: datetime) -> int:
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _millis(value: datetime) -> int:
    return _micros(value) // 1_000


def _days(value: date) -> int:
    return value.toordinal() - _EPOCH_DAY


def _time_micros(value: time) -> int:
    if value.tzinfo is not None:
        raise ValueError("Avro's time of day has no time zone; give a naive time")
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _time_millis(value: time) -> int:
    return _time_micros(value) // 1_000


def _uuid(value: Any) -> str:
    if not isinstance(value, UUID):
        raise TypeError(f"{type(value).__name__} is no UUID")
    return str(value)


_PRIMITIVES: dict[str, Convert] = {
    "int": _int,
    "long": _long,
    "float": _double,
    "double": _double,
    "boolean": _truth,
}
LOGICAL_WRITERS: dict[tuple[Any, Any], Convert] = {
    ("long", "timestamp-micros"): _micros,
    ("long", "timestamp-millis"): _millis,
    ("int", "date"): _days,
    ("long", "time-micros"): _time_micros,
    ("int", "time-millis"): _time_millis,
    ("string", "uuid"): _uuid,
}
_LOGICAL_TYPES: dict[Any, tuple[type, ...]] = {
    "timestamp-micros": (datetime,),
    "timestamp-millis": (datetime,),
    "date": (date,),
    "time-micros": (time,),
    "time-millis": (time,),
    "uuid": (UUID,),
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
