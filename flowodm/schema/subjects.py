"""What the registry has under its subjects, and changing it.

Each call asks the registry of flowodm.connect() anew, and each raises:

- ConfigurationError: no registry is configured.
- RegistryUnavailableError: it does not answer now.
- SchemaRegistryError: it refuses, or does not have what it is asked for.
"""

from __future__ import annotations

import contextlib
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from flowodm.avro.parsing import parsed
from flowodm.connection import get_kafka_connection
from flowodm.exceptions import ConfigurationError, SchemaRegistryError
from flowodm.registry.answers import NotThereError
from flowodm.schema.files import load_schema_from_file
from flowodm.schema.levels import Level

if TYPE_CHECKING:
    from os import PathLike

    from flowodm.registry.client import SchemaRegistry


def load_schema_from_registry(subject: str, version: str | int = "latest") -> dict[str, Any]:
    """The schema of a subject's version, together with all that it refers to.

    Args:
        subject: The registry's subject.
        version: The number of a version, or ``latest``.

    Raises:
        SchemaRegistryError: There is no such subject or version, or it is not Avro with a name;
            and see the module.
        ValueError: The version is neither.
    """
    schema = schema_of_version(subject, version)
    if not isinstance(schema, dict):
        raise SchemaRegistryError(f"subject {subject}, version {version}: no schema with a name")
    return schema


def schema_of_version(subject: str, version: str | int = "latest") -> Any:
    """As :func:`load_schema_from_registry`, but any schema: a union or a plain type too."""
    number = _checked(version)
    registry = configured_registry()
    with registry.translated_errors(f"subject {subject}, version {version}"):
        found = registry.client.get_version(subject, number)
    # The registry's memory is no user's to change.
    return deepcopy(registry.schema(int(found.schema_id or 0)))


def upload_schema(
    schema_path: str | PathLike[str], subject: str, compatibility_level: str | None = None
) -> int:
    """Register the schema of an .avsc file under a subject, or find it there.

    Args:
        schema_path: The file.
        subject: The registry's subject; it need not exist.
        compatibility_level: The rule of the subject from now on, for this schema too, and also
            where this schema is then refused; None leaves it as it is.

    Returns:
        The schema's id.

    Raises:
        FileNotFoundError, json.JSONDecodeError: See :func:`load_schema_from_file`.
        SchemaValidationError: The file holds no valid Avro schema.
        SchemaCompatibilityError: The subject's rule forbids it beside its other versions.
        SchemaRegistryError: See the module.
        ValueError: There is no such level.
    """
    level = None if compatibility_level is None else Level.named(compatibility_level)
    schema = load_schema_from_file(schema_path)
    parsed(schema, str(schema_path))
    registry = configured_registry()
    is_set = level is None
    if level is not None:
        # Apicurio has no rules for a subject that is not there yet; Confluent's registry has.
        with contextlib.suppress(NotThereError):
            _set_level(registry, subject, level)
            is_set = True
    registry.forget(subject)  # anyone may have deleted it since it was last asked for
    found = registry.register(subject, schema)
    if level is not None and not is_set:
        _set_level(registry, subject, level)
    return found


def _set_level(registry: SchemaRegistry, subject: str, level: Level) -> None:
    with registry.translated_errors(f"compatibility of subject {subject}"):
        registry.client.set_compatibility(subject, level.value)


def list_subjects() -> list[str]:
    """All subjects of the registry, sorted.

    Raises:
        SchemaRegistryError: See the module.
    """
    registry = configured_registry()
    with registry.translated_errors("the list of subjects"):
        return sorted(registry.client.get_subjects())


def get_schema_versions(subject: str) -> list[int]:
    """The numbers of a subject's versions, ascending.

    Raises:
        SchemaRegistryError: There is no such subject; and see the module.
    """
    registry = configured_registry()
    with registry.translated_errors(f"subject {subject}"):
        return sorted(registry.client.get_versions(subject))


def delete_subject(subject: str, permanent: bool = False) -> list[int]:
    """Delete a subject; its records stay readable unless it is for good.

    Args:
        subject: The registry's subject.
        permanent: Whether its schemas are to be gone too, so that nobody can read the records
            that were written with them. A subject that was deleted before can be given.

    Returns:
        The numbers of the versions that are gone.

    Raises:
        SchemaRegistryError: There is no such subject; and see the module.
    """
    registry = configured_registry()
    try:
        # A registry wants this step first, also before it deletes for good.
        versions = _deleted(registry, subject, for_good=False)
    except NotThereError:
        if not permanent:
            raise
        versions = []
    if permanent:
        versions = _deleted(registry, subject, for_good=True) or versions
    return sorted(versions)


def _deleted(registry: SchemaRegistry, subject: str, *, for_good: bool) -> list[int]:
    try:
        with registry.translated_errors(f"subject {subject}"):
            return registry.client.delete_subject(subject, permanent=for_good)
    finally:
        registry.forget(subject)


def configured_registry() -> SchemaRegistry:
    """The registry of the process's connection.

    Raises:
        ConfigurationError: None is configured.
    """
    registry = get_kafka_connection().registry
    if registry is None:
        raise ConfigurationError(
            "no schema registry: set SCHEMA_REGISTRY_URL or connect(schema_registry_url=...)"
        )
    return registry


def _checked(version: str | int) -> Any:
    text = str(version)
    if text == "latest":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"version {version!r}: give a number from 1, or 'latest'")
    return int(text)
