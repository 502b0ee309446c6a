"""Read, add and delete the registry's subjects.

Each call asks the registry of flowodm.connect(), and each raises:

- ConfigurationError: no registry is configured.
- RegistryUnavailableError: the registry does not answer now.
- SchemaRegistryError: the registry refuses, or does not have the subject or version.
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
    """Return the schema of a subject's version, together with all that it refers to.

    Args:
        subject: The registry's subject.
        version: The number of a version, or ``latest``.

    Raises:
        SchemaRegistryError: There is no such subject or version, or its schema is not an Avro
            type with a name; and see the module.
        ValueError: The version is not a number from 1, and not ``latest``.
    """
    schema = schema_of_version(subject, version)
    if not isinstance(schema, dict):
        raise SchemaRegistryError(f"subject {subject}, version {version}: no schema with a name")
    return schema


def schema_of_version(subject: str, version: str | int = "latest") -> Any:
    """Return any schema, also a union or a type without a name.

    Otherwise see :func:`load_schema_from_registry`.
    """
    number = _version_number(version)
    registry = configured_registry()
    with registry.translated_errors(f"subject {subject}, version {version}"):
        registered = registry.client.get_version(subject, number)
    # The caller may change the schema, but not the registry's cache.
    return deepcopy(registry.schema(int(registered.schema_id or 0)))


def upload_schema(
    schema_path: str | PathLike[str], subject: str, compatibility_level: str | None = None
) -> int:
    """Register the schema of an .avsc file under a subject, or find it there.

    Args:
        schema_path: The file.
        subject: The registry's subject; it need not exist.
        compatibility_level: The subject's level from now on, which this schema must meet too. It
            is set even if the schema is then refused. None: the level is not changed.

    Returns:
        The schema's id.

    Raises:
        FileNotFoundError, json.JSONDecodeError: See :func:`load_schema_from_file`.
        SchemaValidationError: The file holds no valid Avro schema.
        SchemaCompatibilityError: The subject's compatibility level forbids it.
        SchemaRegistryError: See the module.
        ValueError: There is no such level.
    """
    level = None if compatibility_level is None else Level.named(compatibility_level)
    schema = load_schema_from_file(schema_path)
    parsed(schema, str(schema_path))
    registry = configured_registry()
    is_set = level is None
    if level is not None:
        # Apicurio has no level for a subject that does not exist yet; Confluent's registry has.
        with contextlib.suppress(NotThereError):
            _set_level(registry, subject, level)
            is_set = True
    registry.forget(subject)  # it may have been deleted meanwhile
    schema_id = registry.register(subject, schema)
    if level is not None and not is_set:
        _set_level(registry, subject, level)
    return schema_id


def _set_level(registry: SchemaRegistry, subject: str, level: Level) -> None:
    with registry.translated_errors(f"compatibility of subject {subject}"):
        registry.client.set_compatibility(subject, level.value)


def list_subjects() -> list[str]:
    """Return all subjects of the registry, sorted.

    Raises:
        SchemaRegistryError: See the module.
    """
    registry = configured_registry()
    with registry.translated_errors("the list of subjects"):
        return sorted(registry.client.get_subjects())


def get_schema_versions(subject: str) -> list[int]:
    """Return the numbers of a subject's versions, ascending.

    Raises:
        SchemaRegistryError: There is no such subject; and see the module.
    """
    registry = configured_registry()
    with registry.translated_errors(f"subject {subject}"):
        return sorted(registry.client.get_versions(subject))


def delete_subject(subject: str, permanent: bool = False) -> list[int]:
    """Delete a subject; its records stay readable unless the deletion is permanent.

    Args:
        subject: The registry's subject; with ``permanent`` it may have been deleted before.
        permanent: Whether to delete its schemas too. Records that were written with them can
            never be read again.

    Returns:
        The numbers of the deleted versions.

    Raises:
        SchemaRegistryError: There is no such subject; and see the module.
    """
    registry = configured_registry()
    try:
        # A registry requires this step first, also before a permanent deletion.
        versions = _delete(registry, subject, permanent=False)
    except NotThereError:
        if not permanent:
            raise
        versions = []
    if permanent:
        versions = _delete(registry, subject, permanent=True) or versions
    return sorted(versions)


def _delete(registry: SchemaRegistry, subject: str, *, permanent: bool) -> list[int]:
    try:
        with registry.translated_errors(f"subject {subject}"):
            return registry.client.delete_subject(subject, permanent=permanent)
    finally:
        registry.forget(subject)


def configured_registry() -> SchemaRegistry:
    """Return the registry of the process's connection.

    Raises:
        ConfigurationError: No registry is configured.
    """
    registry = get_kafka_connection().registry
    if registry is None:
        raise ConfigurationError(
            "no schema registry: set SCHEMA_REGISTRY_URL or connect(schema_registry_url=...)"
        )
    return registry


def _version_number(version: str | int) -> Any:
    text = str(version)
    if text == "latest":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"version {version!r}: give a number from 1, or 'latest'")
    return int(text)
