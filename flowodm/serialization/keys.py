"""Write record keys: the value of a model's ``key_field``, by its ``key_serializer``.

- ``string``: a str as UTF-8, bytes unchanged, an enum by its value, anything else as ``str()``
  returns it.
- ``json``: as Pydantic writes the field's type, in one line, names by alias.
- ``avro``: by the Avro schema of the field's type.

With a registry and ``confluent_wire_format``, json and avro keys begin with Confluent's five
bytes, and their schema is registered under ``{topic}-key``. Kafka puts equal bytes into the same
partition. A change of the field's type changes the id, so keys move to other partitions.
"""

from __future__ import annotations

import typing
from enum import Enum
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from flowodm.avro import wire
from flowodm.avro.annotations import is_union
from flowodm.avro.codec import Codec
from flowodm.connection.model_cache import ModelCache
from flowodm.exceptions import SchemaValidationError, SerializationError, SettingsError
from flowodm.model_settings import ModelSettings, settings_of
from flowodm.registry.registration import RegisteredId, Registration
from flowodm.serialization.json import RegisteredSchema

if TYPE_CHECKING:
    from flowodm.registry.client import SchemaRegistry


class KeySerializer(Protocol):
    """Writes the keys of one model's records."""

    @property
    def prepared(self) -> bool:
        """Whether encode does not ask the registry any more, and so cannot block."""

    def prepare(self) -> None:
        """Get the schema's id, if keys are framed, as the first encode would. Blocks."""

    def encode(self, key: Any) -> bytes:
        """Return the bytes of a key. Blocks the first time, unless prepared."""


def keys_of(model: type[BaseModel]) -> KeySerializer:
    """Return the key serializer of a model by its Settings and the process's connection.

    Raises:
        SettingsError: The Settings are incomplete, or a value in them is wrong.
        SchemaValidationError: The key field's type has no form in Avro or JSON.
        ConfigurationError: The registry's configuration is incomplete.
    """
    return keys_by(model, settings_of(model))


def keys_by(model: type[BaseModel], settings: ModelSettings) -> KeySerializer:
    """Return the key serializer of a model whose Settings have just been read.

    Raises:
        SettingsError, SchemaValidationError, ConfigurationError: As for :func:`keys_of`.
    """
    return _TEXT_KEYS if settings.key_serializer == "string" else _serializers.get(model, settings)


class TextKeys:
    """Writes keys as strings."""

    prepared = True

    def prepare(self) -> None:
        """Do nothing."""

    def encode(self, key: Any) -> bytes:
        """Return a str as UTF-8, bytes unchanged, an enum by its value, else ``str(key)``.

        Raises:
            SerializationError: A str cannot be encoded as UTF-8.
        """
        if isinstance(key, Enum):
            key = key.value
        if isinstance(key, bytes):
            return key
        try:
            return str(key).encode()
        except UnicodeEncodeError as error:
            raise SerializationError(f"the key cannot be written: {error.reason}") from None


class _RegisteredKeys:
    """Writes keys that may begin with the id of a schema."""

    _id: RegisteredId

    @property
    def prepared(self) -> bool:
        """Whether encode does not ask the registry any more, and so cannot block."""
        return self._id.header is not None

    def prepare(self) -> None:
        """Get the schema's id, if keys are framed.

        Raises:
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`flowodm.registry.registration.Registration.obtain`.
        """
        self._id.get()


class JsonKeys(_RegisteredKeys):
    """Writes keys as JSON.

    Args:
        name: The model and its key field, for the errors' text.
        annotation: The type of the keys.
        registry: Where the keys' JSON Schema is registered; None: keys are plain JSON.
        registration: How it is registered.

    Raises:
        SchemaValidationError: The type has no JSON form.
    """

    def __init__(
        self,
        name: str,
        annotation: Any,
        registry: SchemaRegistry | None,
        registration: Registration,
    ) -> None:
        self._name = name
        self._adapter = TypeAdapter(annotation)
        self._id = RegisteredId(registry, registration, self._schema, frame=wire.header)

    def encode(self, key: Any) -> bytes:
        """Return the key as JSON.

        Raises:
            SerializationError: It does not fit the field's type, or would be null.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        try:
            self._adapter.validate_python(key, by_alias=True, by_name=True)
            text = self._adapter.dump_json(key, by_alias=True, round_trip=True)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise _unwritten(self._name, errors[0]["msg"]) from None
        except Exception as error:  # noqa: BLE001 - the type's own serializers raise anything
            raise _unwritten(self._name, type(error).__name__) from None
        if text == b"null":
            raise _unwritten(self._name, "it would be written as null")
        return self._id.get() + text

    def _schema(self) -> dict[str, Any]:
        key_schema = self._adapter.json_schema(schema_generator=RegisteredSchema)
        return {"$schema": RegisteredSchema.schema_dialect, **key_schema}


class AvroKeys(_RegisteredKeys):
    """Writes keys as Avro.

    Args:
        name: The model and its key field, for the errors' text.
        annotation: The type of the keys.
        registry: Where the keys' schema is registered; None: keys are bare Avro.
        registration: How it is registered.

    Raises:
        SchemaValidationError: The type has no Avro form.
    """

    def __init__(
        self,
        name: str,
        annotation: Any,
        registry: SchemaRegistry | None,
        registration: Registration,
    ) -> None:
        # The bytes of a record with one field are the bytes of that field.
        owner, _, self._field = name.rpartition(".")
        fields: dict[str, Any] = {self._field: (annotation, ...)}
        self._record: type[BaseModel] = create_model(owner, **fields)
        self._codec = Codec(self._record, subject=registration.subject)
        schema = self._codec.schema["fields"][0]["type"]
        self._id = RegisteredId(registry, registration, lambda: schema, frame=wire.header)

    def encode(self, key: Any) -> bytes:
        """Return the key as Avro.

        Raises:
            SerializationError: It does not fit the field's type.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        body = self._codec.encode(self._record.model_construct(**{self._field: key}))
        return self._id.get() + body


def _make(
    model: type[Any], settings: ModelSettings, registry: SchemaRegistry | None
) -> KeySerializer:
    if settings.key_field is None:
        raise SettingsError(
            f"{model.__name__}.Settings: key_serializer = {settings.key_serializer!r} needs a "
            "key_field, whose type decides how keys are written"
        )
    name = f"{model.__name__}.{settings.key_field}"
    registry = registry if settings.confluent_wire_format else None
    kind = settings.key_serializer.upper()
    registration = Registration(f"{settings.topic}-key", settings.auto_register, schema_type=kind)
    annotation = _type_of_key(model, settings.key_field)
    serializer = JsonKeys if kind == "JSON" else AvroKeys
    try:
        return serializer(name, annotation, registry, registration=registration)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise SchemaValidationError(
            f"{name}: keys of this type cannot be written: {error}"
        ) from error


def _type_of_key(model: type[BaseModel], field: str) -> Any:
    """Return the field's type without None: a record whose key field is None has no key."""
    model.model_rebuild()
    info = model.model_fields[field]
    annotation: Any = info.annotation
    if is_union(annotation):
        branches = [a for a in typing.get_args(annotation) if a is not type(None)]
        # Not Union[...]: typing would cache it, and keep the classes in it alive.
        annotation = reduce(or_, branches)
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return annotation


def _unwritten(name: str, reason: str) -> SerializationError:
    return SerializationError(f"{name} cannot be written as a key: {reason}")


_TEXT_KEYS = TextKeys()
_serializers: ModelCache[KeySerializer] = ModelCache("key_serializer", _make)
