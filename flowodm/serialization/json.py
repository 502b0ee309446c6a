"""Messages as JSON, by Pydantic's rules: JSON is what ``model_dump_json`` would write.

- Names are the fields' aliases, where they have some; reading takes the field's own name too.
- Computed fields are left out: a reader that forbids unknown fields could not take them.
- How bytes, time spans and infinite numbers look, the model's own ``model_config`` says
  (``ser_json_bytes``, ``ser_json_timedelta``, ``ser_json_inf_nan``, ``val_json_bytes``).
  What would not come back, such as bytes that are no UTF-8, a NaN that JSON would turn into
  null, or a secret that would be masked, is an error instead.
- With a registry and ``confluent_wire_format`` a record begins with Confluent's five bytes, and
  the model's JSON Schema is registered. No JSON text begins with a zero byte, so both kinds of
  records are always told apart, and Pydantic alone decides what is valid: reading asks the
  registry nothing.
"""

from __future__ import annotations

import json
import re
import types
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from flowodm.avro import wire
from flowodm.avro.errors import not_valid
from flowodm.exceptions import (
    ConfigurationError,
    DeserializationError,
    SchemaValidationError,
    SerializationError,
)
from flowodm.registry.registration import RegisteredId, Registration

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from pydantic.fields import FieldInfo
    from pydantic.json_schema import JsonSchemaWarningKind
    from pydantic_core import core_schema

    from flowodm.registry.client import SchemaRegistry

M = TypeVar("M", bound=BaseModel)

# What holds no float, so that a null in its place was None.
_NO_FLOATS = {str, int, bool, bytes, Decimal, datetime, date, time, timedelta, UUID, type(None)}
# What Pydantic shows of a secret.
_MASK = b'"**********"'
_FIELD = re.compile(r"field_name='(\w+)'")


class RegisteredSchema(GenerateJsonSchema):
    """JSON Schema of draft 7: registries compare versions of it; of a later one, not all can."""

    schema_dialect = "http://json-schema.org/draft-07/schema#"

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Nothing: a default that JSON cannot express is left out, and Pydantic still applies it.

        The warning would quote it.
        """

    def tuple_schema(self, schema: core_schema.TupleSchema) -> dict[str, Any]:
        """A tuple; draft 7 has other words for its items and for those behind them."""
        own = super().tuple_schema(schema)
        if "prefixItems" in own:
            more = own.pop("items", None)
            own["items"] = own.pop("prefixItems")
            if more is not None:
                own["additionalItems"] = more
        return own


class JsonCodec(Generic[M]):
    """Reads and writes the JSON records of one model. Thread-safe.

    Args:
        model: The class of the messages.
        subject: What the JSON Schema is registered under, or what tells it from the schema's
            title.
        registry: Where it is registered; None: records are plain JSON.
        framed: Whether written records carry Confluent's header; without a registry they never
            do. What is read may have it or not.
        schema_path: A file with the JSON Schema to register, instead of the model's own.
        auto_register: See :class:`~flowodm.registry.registration.Registration`.
        use_latest_version: As above. Records carry the latest version's id; whether they are
            valid by it, nobody checks.

    Raises:
        SchemaValidationError: A field would not come back as it was written, or the file holds
            no JSON Schema.
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
        registration = Registration(self.subject, auto_register, use_latest_version, "JSON")
        by = registry if framed else None
        self._id = RegisteredId(by, registration, self.schema, wire.header)
        self._framed = by is not None
        for name, info in model.model_fields.items():
            _check_comes_back(model, name, info)
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
        """Whether encode needs nothing of the registry any more, and so cannot block."""
        return self._id.header is not None

    def decode(self, data: bytes) -> M:
        """Read one record's value, with or without Confluent's header. No I/O.

        Raises:
            DeserializationError: The bytes are no message of the model. The text holds no
                values of the record beyond what Pydantic's own sentences say.
        """
        schema_id = wire.schema_id_of(data)
        body = data if schema_id is None else data[wire.HEADER_SIZE :]
        try:
            message: M = self._validate(body, by_alias=True, by_name=True)
        except MemoryError:
            raise  # says nothing about the record
        except ValidationError as error:
            failure = not_valid(self.model, error, schema_id)
        except Exception as error:  # noqa: BLE001 - the model's own validators raise anything
            text = f"{self.model.__name__} cannot be read: {type(error).__name__}"
            failure = DeserializationError(text, schema_id=schema_id)
        else:
            return message
        raise failure

    def load_schema(self, schema_id: int) -> None:
        """Nothing: a record is read without its writer's schema."""

    def encode(self, message: M) -> bytes:
        """Write one message. Blocks the first time, if the schema must be registered.

        Raises:
            SerializationError: A value does not fit its field, or would not come back.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        header = self._id.header
        if header is None:
            header = self._id.get()
        data = self._written(message)
        if b"null" in data and self._may_have_lost_a_number(message):
            self._check_nothing_became_null(message, data)
        if _MASK in data:
            self._check_nothing_was_masked(message, data)
        return header + data

    def prepare(self) -> None:
        """Do now what the first encode would: get the schema's id, if records are framed.

        Raises:
            RegistryUnavailableError: The registry does not answer now.
            SchemaCompatibilityError: The subject does not accept the schema.
            SchemaRegistryError: The registry refuses, or lacks what is not to be registered.
        """
        self._id.get()

    def register(self) -> int:
        """Register the model's JSON Schema, also where ``auto_register`` is off; returns its id.

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
        """The JSON Schema of what is read: a field with a default may be missing.

        Raises:
            SchemaValidationError: A field has no JSON Schema, or ``schema_path`` holds none.
        """
        if self._schema_path is not None:
            return _from_file(self._schema_path)
        try:
            own = self.model.model_json_schema(schema_generator=RegisteredSchema)
        except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
            text = f"{self.model.__name__} has no JSON Schema: {error}"
            raise SchemaValidationError(text) from error
        return {"$schema": RegisteredSchema.schema_dialect, **own}

    def _title(self) -> str:
        """What names the schema in a subject: its title, as in Confluent's serializers."""
        if self.registry is None:
            return self.model.__name__  # there is no subject, and perhaps no schema
        return str(self.schema().get("title") or self.model.__name__)

    def _written(self, message: M) -> bytes:
        try:
            return self._to_json(message, by_alias=True, round_trip=True, warnings="error")
        except Exception as error:  # noqa: BLE001 - the model's own serializers raise anything
            failure = self._unwritten(error)
        # Pydantic's warnings are about odd values, not wrong ones: what can be read is written.
        try:
            data = self._to_json(message, by_alias=True, round_trip=True, warnings="none")
            self.decode(data)
        except Exception:  # noqa: BLE001 - as above; the first failure is the one to tell
            raise failure from None
        return data

    def _may_have_lost_a_number(self, message: M) -> bool:
        """A quick look, as most nulls are None."""
        held = message.__dict__
        return self._floats_elsewhere or not all(
            isfinite(held[name]) for name in self._floats if type(held.get(name)) is float
        )

    def _check_nothing_became_null(self, message: M, data: bytes) -> None:
        """Pydantic writes NaN and the infinities as null, unless the model says otherwise."""
        place = _where(_is_lost_number, self._held(message), json.loads(data))
        if place is not None:
            raise SerializationError(
                f"{self.model.__name__}{place} cannot be written: JSON has no NaN and no "
                "infinity; model_config = {'ser_json_inf_nan': 'strings'} writes them as text"
            )

    def _check_nothing_was_masked(self, message: M, data: bytes) -> None:
        place = _where(_is_masked, self._held(message), json.loads(data))
        if place is not None:
            raise SerializationError(
                f"{self.model.__name__}{place} cannot be written: Pydantic masks secrets in "
                "JSON; use str, or a field_serializer that gives the value"
            )

    def _held(self, message: M) -> Any:
        """The message's values in Python, in the order of its JSON."""
        return self.model.__pydantic_serializer__.to_python(
            message, by_alias=True, round_trip=True, warnings="none"
        )

    def _unwritten(self, error: Exception) -> SerializationError:
        # Pydantic's text quotes the value.
        field = _FIELD.search(str(error))
        name = f"{self.model.__name__}.{field[1]}" if field else self.model.__name__
        if isinstance(error, PydanticSerializationError) and "utf-8" in str(error):
            reason = (
                "bytes that are no UTF-8; model_config = {'ser_json_bytes': 'base64', "
                "'val_json_bytes': 'base64'} takes any"
            )
        elif isinstance(error, PydanticSerializationError):
            reason = "a value does not fit its field"
        else:
            reason = type(error).__name__
        return SerializationError(f"{name} cannot be written: {reason}")


def _check_comes_back(model: type[BaseModel], name: str, info: FieldInfo) -> None:
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
            f"{place}: written as {written!r} and not read by that name; use alias= for both"
        )


def _where_floats_are(model: type[BaseModel]) -> tuple[tuple[str, ...], bool]:
    """The fields that are plain floats, and whether there may be some elsewhere."""
    decorators = model.__pydantic_decorators__
    elsewhere = bool(decorators.field_serializers or decorators.model_serializers)
    elsewhere |= model.model_config.get("extra") == "allow"
    floats = []
    for name, info in model.model_fields.items():
        annotation = info.annotation
        is_union = typing.get_origin(annotation) in {typing.Union, types.UnionType}
        parts = set(typing.get_args(annotation)) if is_union else {annotation}
        if info.metadata or not parts <= {float, *_NO_FLOATS}:
            elsewhere = True
        elif float in parts:
            floats.append(name)
    return tuple(floats), elsewhere


def _is_lost_number(held: Any, written: Any) -> bool:
    return isinstance(held, float) and not isfinite(held) and written is None


def _is_masked(held: Any, written: Any) -> bool:
    if not isinstance(held, Secret | SecretStr | SecretBytes):
        return False
    return str(written).encode() == _MASK[1:-1] and held.get_secret_value() != written


def _where(is_wrong: Callable[[Any, Any], bool], held: Any, written: Any) -> str | None:
    """The place of the first value that was written as another one."""
    if is_wrong(held, written):
        return ""
    # Both are in the same order; the names in Python may be of another type.
    if isinstance(held, dict) and isinstance(written, dict):
        steps = zip((f".{key}" for key in written), held.values(), written.values(), strict=False)
    elif isinstance(held, list | tuple | set | frozenset) and isinstance(written, list):
        steps = zip((f"[{index}]" for index in count()), held, written, strict=False)
    else:
        return None
    for step, value, text in steps:
        place = _where(is_wrong, value, text)
        if place is not None:
            return step + place
    return None


def _from_file(path: str | PathLike[str]) -> dict[str, Any]:
    try:
        schema = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemaValidationError(f"schema_path {path}: {error.strerror}") from error
    except ValueError as error:
        raise SchemaValidationError(f"schema_path {path} is not JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") == "record":
        raise SchemaValidationError(f"schema_path {path} is no JSON Schema")
    return schema
