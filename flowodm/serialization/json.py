"""Write messages as JSON, and read them, by Pydantic's rules: as ``model_dump_json`` writes them.

- Names are the fields' aliases, if they have one; reading also accepts the field's own name.
- Computed fields are left out: a reader that forbids unknown fields could not read them.
- The model's ``model_config`` decides how bytes, time spans and infinite numbers look
  (``ser_json_bytes``, ``ser_json_timedelta``, ``ser_json_inf_nan``, ``val_json_bytes``).
  A value that could not be read back is an error: bytes that are not UTF-8, a NaN that would
  become null, or a secret that would be masked.
- With a registry and ``confluent_wire_format`` a record begins with Confluent's five bytes, and
  the model's JSON Schema is registered. No JSON text begins with a zero byte, so records with
  and without the five bytes can always be distinguished. Pydantic alone decides what is valid:
  reading does not ask the registry.
"""

from __future__ import annotations

import json
import re
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from math import isfinite
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from flowodm.avro import wire
from flowodm.avro.annotations import is_union
from flowodm.avro.codec import schema_from_file
from flowodm.avro.errors import not_valid
from flowodm.exceptions import (
    ConfigurationError,
    DeserializationError,
    SchemaValidationError,
    SerializationError,
)
from flowodm.registry.registration import RegisteredId, Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from pydantic.fields import FieldInfo
    from pydantic.json_schema import JsonSchemaWarningKind
    from pydantic_core import core_schema

    from flowodm.registry.client import SchemaRegistry

M = TypeVar("M", bound=BaseModel)

_NO_FLOATS = {str, int, bool, bytes, Decimal, datetime, date, time, timedelta, UUID, type(None)}
"""Types that hold no float, so that a null in their place was None."""

_MASK = b'"**********"'
"""What Pydantic writes instead of a secret."""

_FIELD = re.compile(r"field_name='(\w+)'")
"""The name of the field in Pydantic's text."""


class RegisteredSchema(GenerateJsonSchema):
    """JSON Schema of draft 7: not all registries can compare versions of a later draft."""

    schema_dialect = "http://json-schema.org/draft-07/schema#"

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Suppress warnings, since they may quote a default.

        A default that JSON cannot express is left out, and Pydantic still applies it.
        """

    def tuple_schema(self, schema: core_schema.TupleSchema) -> dict[str, Any]:
        """Return the schema of a tuple, with the keywords that draft 7 has for its items."""
        json_schema = super().tuple_schema(schema)
        if "prefixItems" in json_schema:
            further_items = json_schema.pop("items", None)
            json_schema["items"] = json_schema.pop("prefixItems")
            if further_items is not None:
                json_schema["additionalItems"] = further_items
        return json_schema


class JsonCodec(Generic[M]):
    """Reads and writes the JSON records of one model. Thread-safe.

    Args:
        model: The class of the messages.
        subject: The registry's subject, or a function that returns it, given the schema's title.
        registry: Where the JSON Schema is registered; None: records are plain JSON.
        framed: Whether written records carry Confluent's header; without a registry they never
            do. Records to read may have a header or not.
        schema_path: A file with the JSON Schema to register, instead of the model's own.
        auto_register: See :class:`~flowodm.registry.registration.Registration`.
        use_latest_version: See :class:`~flowodm.registry.registration.Registration`. Records
            carry the latest version's id, but are not validated by that version.

    Raises:
        SchemaValidationError: A field would be read back as another value, or the file does not
            contain a JSON Schema.
    """

    def __init__(
        self,
        model: type[M],
        *,
        subject: str | Callable[[str], str],
        registry: SchemaRegistry | None = None,
        framed: bool = True,
        schema_path: str | PathLike[str] | None = None,
        auto_register: bool = True,
        use_latest_version: bool = False,
    ) -> None:
        self.model = model
        self.registry = registry
        self._schema_path = schema_path
        model.model_rebuild()
        self.subject = subject if isinstance(subject, str) else subject(self._title())
        registration = Registration(
            self.subject, auto_register, use_latest_version, schema_type="JSON"
        )
        self._framed = framed and registry is not None
        self._id = RegisteredId(
            registry if self._framed else None, registration, self.schema, frame=wire.header
        )
        for name, info in model.model_fields.items():
            _check_is_read_back(model, name, info)
        self._floats, self._floats_elsewhere = _where_floats_are(model)
        self._to_json = model.__pydantic_serializer__.to_json
        self._validate = model.__pydantic_validator__.validate_json

    def __repr__(self) -> str:
        return f"JsonCodec({self.model.__name__}, subject={self.subject!r})"

    @property
    def framed(self) -> bool:
        """Whether written records carry Confluent's header with the id of their schema."""
        return self._framed

    @property
    def prepared(self) -> bool:
        """Whether encode does not ask the registry any more, and so cannot block."""
        return self._id.header is not None

    def decode(self, data: bytes) -> M:
        """Read one record's value, with or without Confluent's header. No I/O.

        Raises:
            DeserializationError: The bytes are not a message of the model. The text holds no
                values of the record except in Pydantic's own messages.
        """
        schema_id = wire.schema_id_of(data)
        body = data if schema_id is None else data[wire.HEADER_SIZE :]
        try:
            message: M = self._validate(body, by_alias=True, by_name=True)
        except MemoryError:
            raise  # the record may be good
        except ValidationError as error:
            failure = not_valid(self.model, error, schema_id)
        except Exception as error:  # noqa: BLE001 - the model's own validators raise anything
            text = f"{self.model.__name__} cannot be read: {type(error).__name__}"
            failure = DeserializationError(text, schema_id=schema_id)
        else:
            return message
        raise failure

    def load_schema(self, schema_id: int) -> None:
        """Do nothing: a record is read without its writer's schema."""

    def encode(self, message: M) -> bytes:
        """Write one message. Blocks the first time, if the schema must be registered.

        Raises:
            SerializationError: A value does not fit its field, or would be read back as another.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        header = self._id.header
        if header is None:
            header = self._id.get()
        data = self._to_text(message)
        if b"null" in data and self._may_have_lost_a_number(message):
            self._check_nothing_became_null(message, data)
        if _MASK in data:
            self._check_nothing_was_masked(message, data)
        return header + data

    def prepare(self) -> None:
        """Get the schema's id, if records are framed, as the first encode would. Blocks.

        Raises:
            RegistryUnavailableError: The registry does not answer now.
            SchemaCompatibilityError: The subject does not accept the schema.
            SchemaRegistryError: The registry refuses, or lacks a schema that must not be
                registered.
        """
        self._id.get()

    def register(self) -> int:
        """Register the model's JSON Schema, whatever ``auto_register`` says; return its id.

        Blocks.

        Raises:
            ConfigurationError: There is no registry.
            SchemaValidationError: The model has no JSON Schema.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        if self.registry is None:
            raise ConfigurationError(
                f"{self.model.__name__}: no schema registry to register with: "
                "set SCHEMA_REGISTRY_URL or connect(schema_registry_url=...)"
            )
        return self.registry.register(self.subject, self.schema(), "JSON")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the records to read: a field with a default may be missing.

        Raises:
            SchemaValidationError: A field has no JSON Schema, or the file ``schema_path`` does
                not contain one.
        """
        if self._schema_path is not None:
            return _from_file(self._schema_path)
        try:
            model_schema = self.model.model_json_schema(schema_generator=RegisteredSchema)
        except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
            text = f"{self.model.__name__} has no JSON Schema: {error}"
            raise SchemaValidationError(text) from error
        return {"$schema": RegisteredSchema.schema_dialect, **model_schema}

    def _title(self) -> str:
        """Return the schema's title, which names it in a subject as in Confluent's serializers."""
        if self.registry is None:
            return self.model.__name__  # no subject is needed, and there may be no schema
        return str(self.schema().get("title") or self.model.__name__)

    def _to_text(self, message: M) -> bytes:
        try:
            return self._to_json(message, by_alias=True, round_trip=True, warnings="error")
        except Exception as error:  # noqa: BLE001 - the model's own serializers raise anything
            failure = self._serialization_error(error)
        # Pydantic also warns of unusual values: a message that can be read back is written.
        try:
            data = self._to_json(message, by_alias=True, round_trip=True, warnings="none")
            self.decode(data)
        except Exception:  # noqa: BLE001 - as above; the first failure is raised
            raise failure from None
        return data

    def _may_have_lost_a_number(self, message: M) -> bool:
        """Tell quickly whether a null may have been a float, as most nulls are None."""
        if self._floats_elsewhere:
            return True
        values = message.__dict__
        floats = [values[name] for name in self._floats if type(values.get(name)) is float]
        return not all(isfinite(number) for number in floats)

    def _check_nothing_became_null(self, message: M, data: bytes) -> None:
        """Raise if NaN or an infinity became null, as Pydantic writes them by default."""
        place = _path_to(_is_lost_number, self._values(message), json.loads(data))
        if place is not None:
            raise SerializationError(
                f"{self.model.__name__}{place} cannot be written: JSON has no NaN and no "
                "infinity; model_config = {'ser_json_inf_nan': 'strings'} writes them as strings"
            )

    def _check_nothing_was_masked(self, message: M, data: bytes) -> None:
        place = _path_to(_is_masked, self._values(message), json.loads(data))
        if place is not None:
            raise SerializationError(
                f"{self.model.__name__}{place} cannot be written: Pydantic masks secrets in "
                "JSON; use str, or a field_serializer that returns the value"
            )

    def _values(self, message: M) -> Any:
        """Return the message's Python values, in the order of its JSON."""
        return self.model.__pydantic_serializer__.to_python(
            message, by_alias=True, round_trip=True, warnings="none"
        )

    def _serialization_error(self, error: Exception) -> SerializationError:
        # Pydantic's text quotes the value.
        field = _FIELD.search(str(error))
        name = f"{self.model.__name__}.{field[1]}" if field else self.model.__name__
        if isinstance(error, PydanticSerializationError) and "utf-8" in str(error):
            reason = (
                "the bytes are not UTF-8; model_config = {'ser_json_bytes': 'base64', "
                "'val_json_bytes': 'base64'} allows any bytes"
            )
        elif isinstance(error, PydanticSerializationError):
            reason = "a value does not fit its field"
        else:
            reason = type(error).__name__
        return SerializationError(f"{name} cannot be written: {reason}")


def _check_is_read_back(model: type[BaseModel], name: str, info: FieldInfo) -> None:
    place = f"{model.__name__}.{name}"
    if info.exclude:
        if info.is_required():
            raise SchemaValidationError(
                f"{place}: exclude=True keeps it out of the record, so it needs a default to be "
                "read back"
            )
        return
    written = info.serialization_alias or name
    aliases = info.validation_alias
    read = aliases.choices if isinstance(aliases, AliasChoices) else [aliases]
    if written not in {name, *(alias for alias in read if isinstance(alias, str))}:
        raise SchemaValidationError(
            f"{place}: it is written as {written!r} but not read by that name; use alias= for both"
        )


def _where_floats_are(model: type[BaseModel]) -> tuple[tuple[str, ...], bool]:
    """Return the fields that are plain floats, and whether other fields may hold floats."""
    decorators = model.__pydantic_decorators__
    elsewhere = bool(decorators.field_serializers or decorators.model_serializers)
    elsewhere |= model.model_config.get("extra") == "allow"
    floats = []
    for name, info in model.model_fields.items():
        annotation = info.annotation
        parts = set(typing.get_args(annotation)) if is_union(annotation) else {annotation}
        if info.metadata or not parts <= {float, *_NO_FLOATS}:
            elsewhere = True
        elif float in parts:
            floats.append(name)
    return tuple(floats), elsewhere


def _is_lost_number(value: Any, written: Any) -> bool:
    return isinstance(value, float) and not isfinite(value) and written is None


def _is_masked(value: Any, written: Any) -> bool:
    if not isinstance(value, Secret | SecretStr | SecretBytes):
        return False
    return str(written).encode() == _MASK[1:-1] and value.get_secret_value() != written


def _path_to(is_wrong: Callable[[Any, Any], bool], value: Any, written: Any) -> str | None:
    """Return the path of the first value that was written as another one; None if there is none.

    Args:
        is_wrong: Compares a Python value with what was written for it.
        value: The values in Python.
        written: The same values in JSON.
    """
    if is_wrong(value, written):
        return ""
    for step, inner, inner_written in _pairs(value, written):
        path = _path_to(is_wrong, inner, inner_written)
        if path is not None:
            return step + path
    return None


def _pairs(value: Any, written: Any) -> Iterable[tuple[str, Any, Any]]:
    """Return the step to each inner value, with the value in Python and in JSON.

    Both are in the same order; the keys in Python may be of another type.
    """
    if isinstance(value, dict) and isinstance(written, dict):
        steps = (f".{key}" for key in written)
        return zip(steps, value.values(), written.values(), strict=False)
    if isinstance(value, list | tuple | set | frozenset) and isinstance(written, list):
        steps = (f"[{index}]" for index in count())
        return zip(steps, value, written, strict=False)
    return ()


def _from_file(path: str | PathLike[str]) -> dict[str, Any]:
    schema = schema_from_file(path)
    if not isinstance(schema, dict) or schema.get("type") == "record":
        raise SchemaValidationError(f"schema_path {path} is not a JSON Schema")
    return schema
