"""Find the classes that the names in a given schema stand for. Pure."""

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
    """Return the classes that a given schema's named types stand for, by the schema's names.

    Args:
        model: The class of the schema's records.
        schema: A schema given for the model, with full names. A name that no class has is
            matched by its last part.
    """
    try:
        model_classes = mapped(model).classes
    except SchemaValidationError:  # no schema can be derived, so one was given
        model_classes = {}
        _collect_classes(model, model_classes)
    by_name = {short_name(name): cls for name, cls in model_classes.items()} | model_classes
    classes = {}
    for name, definition in named_types(schema).items():
        cls = by_name.get(name) or by_name.get(short_name(name)) or _implied(definition)
        if cls is not None:
            classes[name] = cls
    return classes


def _implied(schema: Mapping[str, Any]) -> type | None:
    return tuple if schema.get("logicalType") == TUPLE else None


def _collect_classes(annotation: Any, classes: dict[str, type]) -> None:
    """Add the models and enums that an annotation leads to, by their names."""
    if isinstance(annotation, ALIASES):
        _collect_classes(annotation.__value__, classes)
    for inner in typing.get_args(annotation):
        _collect_classes(inner, classes)
    if typing.get_origin(annotation) is None and inspect.isclass(annotation):
        if issubclass(annotation, Enum):
            classes[full_name(annotation)] = annotation
        elif issubclass(annotation, BaseModel) and full_name(annotation) not in classes:
            classes[full_name(annotation)] = annotation
            for info in annotation.model_fields.values():
                _collect_classes(info.annotation, classes)
