"""Check whether a model fits a schema, and whether its schema may follow a subject's."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from flowodm.avro.codec import Codec
from flowodm.avro.compatibility import obstacles
from flowodm.avro.mapping import mapped
from flowodm.avro.named_classes import classes_named
from flowodm.avro.parsing import parsed
from flowodm.exceptions import SchemaValidationError
from flowodm.model_settings import settings_of
from flowodm.registry.answers import NotThereError
from flowodm.schema.conformity import conformity
from flowodm.schema.files import load_schema_from_file
from flowodm.schema.levels import Level
from flowodm.schema.results import CompatibilityResult, ValidationResult
from flowodm.schema.subjects import (
    get_schema_versions,
    load_schema_from_registry,
    schema_of_version,
)

if TYPE_CHECKING:
    from os import PathLike

    from flowodm.model import FlowBaseModel


def validate_against_file(
    model_class: type[FlowBaseModel], schema_path: str | PathLike[str]
) -> ValidationResult:
    """Compare a model's fields with the schema of an .avsc file.

    Args:
        model_class: The model; its Settings need not be complete.
        schema_path: The file.

    Raises:
        FileNotFoundError, json.JSONDecodeError: See
            :func:`~flowodm.schema.load_schema_from_file`.
        SchemaValidationError: The file holds no valid Avro schema, or the model has none.
    """
    schema = parsed(load_schema_from_file(schema_path), str(schema_path))
    return _compared(model_class, schema)


def validate_against_registry(
    model_class: type[FlowBaseModel], subject: str, version: str | int = "latest"
) -> ValidationResult:
    """Compare a model's fields with the schema of a subject's version.

    Args:
        model_class: The model; its Settings need not be complete.
        subject: The registry's subject.
        version: The number of a version, or ``latest``.

    Raises:
        SchemaValidationError: The model has no Avro schema.
        SchemaRegistryError, RegistryUnavailableError, ConfigurationError: See
            :func:`~flowodm.schema.load_schema_from_registry`.
    """
    schema = parsed(load_schema_from_registry(subject, version), f"subject {subject}")
    return _compared(model_class, schema)


def check_compatibility(
    model_class: type[FlowBaseModel], subject: str, compatibility_level: str = "BACKWARD"
) -> CompatibilityResult:
    """Check whether the schema that a model is written with may follow those of a subject.

    The given level decides, not the subject's own. A subject without versions accepts any
    schema.

    Args:
        model_class: The model.
        subject: The registry's subject.
        compatibility_level: NONE, BACKWARD, FORWARD or FULL, which compare with the latest
            version; or BACKWARD_TRANSITIVE, FORWARD_TRANSITIVE or FULL_TRANSITIVE, which compare
            with all versions.

    Raises:
        SchemaValidationError: The model has no Avro schema.
        SchemaRegistryError, RegistryUnavailableError, ConfigurationError: The check could not be
            made; see :func:`~flowodm.schema.load_schema_from_registry`.
        ValueError: There is no such level.
    """
    level = Level.named(compatibility_level)
    new = parsed(_written(model_class), model_class.__name__)
    try:
        versions = get_schema_versions(subject)
    except NotThereError:
        return CompatibilityResult(True, f"subject {subject} has no versions yet", level.value)
    reasons: list[str] = []
    for number in _compared_versions(versions, level):
        reasons += _reasons(new, level, subject, number=number)
    return _result(model_class.__name__, level, subject, reasons=reasons)


def _compared_versions(versions: list[int], level: Level) -> list[int]:
    if level is Level.NONE:
        return []
    return versions if level.transitive else versions[-1:]


def _result(name: str, level: Level, subject: str, reasons: list[str]) -> CompatibilityResult:
    if not reasons:
        return CompatibilityResult(True, f"{name} is {level.value} compatible", level.value)
    message = f"{name} is not {level.value} compatible with subject {subject}: {reasons[0]}"
    if len(reasons) > 1:
        message += f", and {len(reasons) - 1} more"
    return CompatibilityResult(False, message, level.value, reasons=reasons)


def _reasons(new: Any, level: Level, subject: str, number: int) -> list[str]:
    old = parsed(schema_of_version(subject, number), f"subject {subject}, version {number}")
    reasons = []
    if level.reads_old:
        reasons += [f"records of version {number}: {text}" for text in obstacles(old, new)]
    if level.is_read_by_old:
        reasons += [f"readers of version {number}: {text}" for text in obstacles(new, old)]
    return reasons


def _compared(model: type[FlowBaseModel], schema: Any) -> ValidationResult:
    """Compare a model's fields with a schema; of a generated model, the schema it came from."""
    avro_schema = getattr(getattr(model, "Settings", None), "avro_schema", None)
    if avro_schema:
        codec = Codec(model, subject="", avro_schema=avro_schema)
        model_schema = parsed(codec.schema, model.__name__)
        classes = classes_named(model, model_schema)
    else:
        derived, classes = mapped(model)
        model_schema = parsed(derived, model.__name__)
    text_enums = [
        name for name, cls in classes.items() if issubclass(cls, Enum) and issubclass(cls, str)
    ]
    return conformity(model_schema, schema, frozenset(text_enums))


def _written(model: type[FlowBaseModel]) -> dict[str, Any]:
    """Return the schema that the model's messages are written with."""
    settings = settings_of(model)
    if settings.value_serializer != "avro":
        raise SchemaValidationError(
            f"{model.__name__} is written as {settings.value_serializer}, not as Avro"
        )
    codec = Codec(
        model,
        subject="",
        schema_path=settings.schema_path,
        avro_schema=settings.avro_schema,
    )
    return codec.schema
