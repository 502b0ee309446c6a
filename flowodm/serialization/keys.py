"""Record keys: the value of a model's ``key_field``, written by its ``key_serializer``.

- ``string``: text as UTF-8, bytes as they are, anything else as ``str`` shows it; an enum by its
  value.
- ``json``: as Pydantic writes the field's type, in one line, names by alias.
- ``avro``: by the Avro schema of the field's type.

With a registry and ``confluent_wire_format``, json and avro keys begin with Confluent's five
bytes, and their schema is registered under ``{topic}-key``. Kafka puts equal bytes into the same
partition; so a change of the field's type, which changes the id, moves keys to other partitions.
"""

from __future__ import annotations

import types
import typing
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Union

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from flowodm.avro import wire
from flowodm.avro.codec import Codec
from flowodm.connection.model_cache import ModelCache
from flowodm.exceptions import SchemaValidationError, SerializationError, SettingsError
from flowodm.model_settings import ModelSettings, settings_of
from flowodm.registry.registration import RegisteredId, Registration
from flowodm.serialization.json import RegisteredSchema

if TYPE_CHECKING:
    from flowodm.registry.client import SchemaRegistry


class KeySerializer(Protocol):
    """Makes the bytes of a record's key."""

    @property
    def prepared(self) -> bool:
        """Whether encode needs nothing of the registry any more, and so cannot block."""

    def prepare(self) -> None:
        """Do now what the first encode would. Blocks."""

    def encode(self, key: Any) -> bytes:
        """The bytes of a key. Blocks the first time, unless prepared."""


def keys_of(model: type[BaseModel]) -> KeySerializer:
    """What makes the keys of a model's records, by its Settings and the process's connection.

    Raises:
        SettingsError: The Settings are incomplete, or a value in them is wrong.
        SchemaValidationError: The key field's type has no form in Avro or JSON.
        ConfigurationError: The registry's configuration is incomplete.
    """
    return keys_by(model, settings_of(model))


def keys_by(model: type[BaseModel], settings: ModelSettings) -> KeySerializer:
    """What makes the keys of a model whose Settings have been read just now.

    Raises:
        SettingsError, SchemaValidationError, ConfigurationError: As for :func:`keys_of`.
    """
    return _TEXT if settings.key_serializer == "string" else _serializers.get(model, settings)


class TextKeys:
    """Keys as text."""

    prepared = True

    def prepare(self) -> None:
        """Nothing."""

    def encode(self, key: Any) -> bytes:
        """Text as UTF-8, bytes as they are, an enum by its value, else as ``str`` shows it.

        Raises:
            SerializationError: Text that UTF-8 has no form for.
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
    """Keys that may be framed with the id of a schema."""

    _id: RegisteredId

    @property
    def prepared(self) -> bool:
        """Whether encode needs nothing of the registry any more, and so cannot block."""
        return self._id.header is not None

    def prepare(self) -> None:
        """Get the schema's id, if keys are framed.

        Raises:
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`flowodm.registry.registration.Registration.obtain`.
        """
        self._id.get()


class JsonKeys(_RegisteredKeys):
    """Keys as JSON.

    Args:
        name: The model and its key field, for the errors' text.
        annotation: The type of the keys.
        registry: Where their JSON Schema is registered; None: keys are plain JSON.
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
        self._id = RegisteredId(registry, registration, self._schema, wire.header)

    def encode(self, key: Any) -> bytes:
        """The key as JSON.

        Raises:
            SerializationError: It does not fit the field's type, or would be null.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        try:
            self._adapter.validate_python(key, by_alias=True, by_name=True)
            text = self._adapter.dump_json(key, by_alias=True, round_trip=True)
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False, include_input=False)
            raise _unwritten(self._name, said[0]["msg"]) from None
        except Exception as error:  # noqa: BLE001 - the type's own serializers raise anything
            raise _unwritten(self._name, type(error).__name__) from None
        if text == b"null":
            raise _unwritten(self._name, "JSON has no form for it but null")
        return self._id.get() + text

    def _schema(self) -> dict[str, Any]:
        own = self._adapter.json_schema(schema_generator=RegisteredSchema)
        return {"$schema": RegisteredSchema.schema_dialect, **own}


class AvroKeys(_RegisteredKeys):
    """Keys as Avro.

    Args:
        name: The model and its key field, for the errors' text.
        annotation: The type of the keys.
        registry: Where its schema is registered; None: keys are bare Avro.
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
        self._id = RegisteredId(registry, registration, lambda: schema, wire.header)

    def encode(self, key: Any) -> bytes:
        """The key as Avro.

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
            "key_field, whose type says how keys are written"
        )
    name = f"{model.__name__}.{settings.key_field}"
    framed = registry if settings.confluent_wire_format else None
    kind = settings.key_serializer.upper()
    registration = Registration(f"{settings.topic}-key", settings.auto_register, schema_type=kind)
    annotation = _type_of_key(model, settings.key_field)
    make = JsonKeys if kind == "JSON" else AvroKeys
    try:
        return make(name, annotation, framed, registration)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise SchemaValidationError(f"{name}: no form for keys of this type: {error}") from error


def _type_of_key(model: type[BaseModel], field: str) -> Any:
    """The field's type, without None: a record whose key field is None has no key."""
    model.model_rebuild()
    info = model.model_fields[field]
    annotation: Any = info.annotation
    if typing.get_origin(annotation) in {Union, types.UnionType}:
        branches = tuple(a for a in typing.get_args(annotation) if a is not type(None))
        annotation = Union[branches]  # noqa: UP007 - of a tuple
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return annotation


def _unwritten(name: str, reason: str) -> SerializationError:
    return SerializationError(f"{name} cannot be written as a key: {reason}")


_TEXT = TextKeys()
_serializers: ModelCache[KeySerializer] = ModelCache("key_serializer", _make)
