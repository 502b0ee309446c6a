"""Which classes the names of a given schema mean. Pure."""

from __future__ import annotations

import inspect
import typing
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flowodm.avro.annotations import ALIASES
from flowodm.avro.logical_types import TUPLE
from flowodm.avro.mapping import mapped
from flowodm.avro.names import full_name, short_name
from flowodm.avro.parsing import named_types
from flowodm.exceptions import SchemaValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping


def classes_named(model: type[BaseModel], schema: Mapping[str, Any]) -> dict[str, type]:
    """The classes that a schema which was given for a model may mean, by its own names.

    Args:
        model: What its records become.
        schema: The given schema, with full names. A name that no class has is matched by its
            last part.
    """
    try:
        own = mapped(model).classes
    except SchemaValidationError:  # that is why it was given one
        own = {}
        _find_classes(model, own)
    known = {**{short_name(name): cls for name, cls in own.items()}, **own}
    found = {
        name: known.get(name) or known.get(short_name(name)) or _implied(named)
        for name, named in named_types(schema).items()
    }
    return {name: cls for name, cls in found.items() if cls is not None}


def _implied(schema: Mapping[str, Any]) -> type | None:
    return tuple if schema.get("logicalType") == TUPLE else None


def _find_classes(annotation: Any, found: dict[str, type]) -> None:
    """The models and enums that an annotation leads to, by their names."""
    if isinstance(annotation, ALIASES):
        _find_classes(annotation.__value__, found)
    for inner in typing.get_args(annotation):
        _find_classes(inner, found)
    if typing.get_origin(annotation) is None and inspect.isclass(annotation):
        if issubclass(annotation, Enum):
            found[full_name(annotation)] = annotation
        elif issubclass(annotation, BaseModel) and full_name(annotation) not in found:
            found[full_name(annotation)] = annotation
            for info in annotation.model_fields.values():
                _find_classes(info.annotation, found)
