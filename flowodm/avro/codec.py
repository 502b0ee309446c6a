"""Bytes to messages and back, by contract.md's wire rules.

A codec is made once per model class and connection. What is slow happens once: the schema is
derived and parsed, a writer's schema is fetched and fitted; decoding a record then is one call
into fastavro, one into Pydantic, and nothing in between but the timestamps.
"""

from __future__ import annotations

import json
import logging
import threading
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import fastavro
from fastavro.schema import SchemaParseException, UnknownType
from pydantic import BaseModel, ValidationError

from flowodm.avro import wire
from flowodm.avro.mapping import record_schema
from flowodm.avro.resolution import CannotFitError, fit, only_drops, same_shape
from flowodm.avro.values import EPOCH, ValueAtError, compile_writer, physical
from flowodm.connection import get_kafka_connection
from flowodm.exceptions import (
    ConfigurationError,
    DeserializationError,
    FlowODMError,
    SchemaValidationError,
    SerializationError,
)
from flowodm.model_settings import ModelSettings, settings_of
from flowodm.registry.answers import UnusableSchemaError
from flowodm.registry.registration import Registration

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from flowodm.registry.client import SchemaRegistry

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

_MICROSECOND = timedelta(microseconds=1)
_TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}
_NOT_FRAMED = (
    "the record has no schema id in Confluent's format; where a topic holds bare Avro, set "
    "confluent_wire_format = False in the model's Settings"
)


class SchemaNotLoadedError(FlowODMError):
    """The writer's schema of a record is not here yet: call ``load_schema``, then decode again.

    Attributes:
        schema_id: What to give to :meth:`Codec.load_schema`.
    """

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id} is not loaded yet")
        self.schema_id = schema_id


class _TrailingBytesError(Exception):
    """A record goes on after its last field."""


class Codec(Generic[M]):
    """Reads and writes the records of one model. Thread-safe.

    Args:
        model: The class of the messages.
        subject: What the schema is registered under, or what tells it from the full name of
            the schema's record.
        registry: Where schemas of framed records come from; None: all records are bare Avro.
        framed: Whether records carry Confluent's header; without a registry they never do.
        schema_path: An .avsc file to write with, instead of the schema derived from the model.
        avro_schema: JSON text of a schema to write and to read with, instead of either.
        auto_register: See :class:`~flowodm.registry.registration.Registration`.
        use_latest_version: As above.

    Raises:
        SchemaValidationError: The model, the file or the text has no valid Avro schema.
    """

    def __init__(
        self,
        model: type[M],
        *,
        subject: str | Callable[[str], str],
        registry: SchemaRegistry | None = None,
        framed: bool = True,
        schema_path: str | PathLike[str] | None = None,
        avro_schema: str | None = None,
        auto_register: bool = True,
        use_latest_version: bool = False,
    ) -> None:
        self.model = model
        self._verbatim = bool(avro_schema)
        derived = _from_text(avro_schema, model) if avro_schema else record_schema(model)
        self.schema: dict[str, Any] = (
            _from_file(schema_path) if schema_path and not avro_schema else derived
        )
        self.registry = registry
        self._framed = framed and registry is not None
        self._wanted = _parsed(derived)
        self._own = self.schema
        own = _parsed(self.schema)
        self.subject = subject if isinstance(subject, str) else subject(own["name"])
        self._registration = Registration(self.subject, auto_register, use_latest_version)
        self._to_avro = compile_writer(own)
        self._physical = fastavro.parse_schema(physical(own))
        self._bare = self._reader(own, 0)
        self._bare_framed = self._reader(own, wire.HEADER_SIZE)
        self._by_header: dict[bytes, Callable[[bytes], M]] = {}
        self._header: bytes | None = None if self._framed else b""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Codec({self.model.__name__}, subject={self.subject!r})"

    @property
    def framed(self) -> bool:
        """Whether records carry Confluent's header with the id of their schema."""
        return self._framed

    @property
    def prepared(self) -> bool:
        """Whether encode needs nothing of the registry any more, and so cannot block."""
        return self._header is not None

    def decode(self, data: bytes) -> M:
        """Read one record's value. No I/O.

        Raises:
            DeserializationError: The bytes are no message of the model. The text holds no
                values of the record beyond what Pydantic's own sentences say.
            SchemaNotLoadedError: The record is framed and its writer's schema was not needed
                before.
        """
        return self._decode_framed(data) if self._framed else self._decode_bare(data)

    def load_schema(self, schema_id: int) -> None:
        """Fetch and prepare a writer's schema. Blocks: one request per id and process.

        Raises:
            RegistryUnavailableError: The registry does not answer now; nothing is wrong with
                the record.
            DeserializationError: The registry does not know the id, or what it has under it is
                no Avro or cannot be read as this model.
            SchemaRegistryError: The registry refuses.
        """
        header = wire.header(schema_id)
        if header in self._by_header:
            return
        if self.registry is None:
            raise ConfigurationError(
                "no schema registry: set SCHEMA_REGISTRY_URL or connect(schema_registry_url=...)"
            )
        try:
            writer = _parsed(self.registry.schema(schema_id))
            self._by_header[header] = self._reader(writer, wire.HEADER_SIZE)
        except (UnusableSchemaError, SchemaValidationError, CannotFitError) as error:
            text = f"{self.model.__name__} cannot be read: {error}"
            raise DeserializationError(text, schema_id=schema_id) from error

    def encode(self, message: M) -> bytes:
        """Write one message. Blocks the first time, if the schema must be registered.

        Raises:
            SerializationError: A value does not fit its field.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        header = self._header
        if header is None:
            header = self._prepared()
        stream = BytesIO()
        stream.write(header)
        self._write(stream, message)
        return stream.getvalue()

    def prepare(self) -> None:
        """Do now what the first encode would: get the schema's id, if records are framed.

        Raises:
            RegistryUnavailableError: The registry does not answer now.
            SchemaCompatibilityError: The subject does not accept the schema.
            SchemaValidationError: The subject's latest schema is to be used, and is no record.
            SchemaRegistryError: The registry refuses, or lacks what is not to be registered.
        """
        if self._header is None:
            self._prepared()

    def register(self) -> int:
        """Register the model's schema, also where ``auto_register`` is off; returns its id.

        Blocks.

        Raises:
            ConfigurationError: There is no registry.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        if self.registry is None:
            raise ConfigurationError(
                f"{self.model.__name__}: no schema registry to register with: "
                "set SCHEMA_REGISTRY_URL or connect(schema_registry_url=...)"
            )
        return self.registry.register(self.subject, self._own)

    def to_dict(self, message: M) -> dict[str, Any]:
        """The message as Avro holds it, timestamps as datetimes and enums as their symbols.

        Raises:
            SerializationError: A value does not fit its field.
        """
        stream = BytesIO()
        self._write(stream, message)
        stream.seek(0)
        values: Any = fastavro.schemaless_reader(stream, self.schema, None)
        return dict(values)

    def _write(self, stream: BytesIO, message: M) -> None:
        try:
            fastavro.schemaless_writer(stream, self._physical, self._to_avro(message))
        except Exception as error:  # noqa: BLE001 - fastavro raises whatever a value leads it to
            failure = _unwritten(self.model, error)
        else:
            return
        raise failure

    def _prepared(self) -> bytes:
        registry = self.registry
        assert registry is not None, "only framed records need it"  # noqa: S101 - for the type
        with self._lock:
            if self._header is None:
                schema_id, schema = self._registration.obtain(registry, self._own)
                if schema is not self._own:
                    self._write_with(schema, schema_id)
                # Last: who sees the header writes with the schema that it stands for.
                self._header = wire.header(schema_id)
            return self._header

    def _write_with(self, schema: Any, schema_id: int) -> None:
        """Write with another schema than the model's own from now on."""
        parsed = _parsed(schema)
        there = {field["name"] for field in parsed["fields"]}
        missing = sorted(
            field["name"]
            for field in self._wanted["fields"]
            if there.isdisjoint({field["name"], *field.get("aliases", ())})
        )
        if missing:
            logger.warning(
                "%s: the latest schema of subject %s (id %d) has no %s: not written",
                self.model.__name__,
                self.subject,
                schema_id,
                ", ".join(missing),
            )
        self._to_avro = compile_writer(parsed)
        self._physical = fastavro.parse_schema(physical(parsed))
        self.schema = schema

    def _decode_framed(self, data: bytes) -> M:
        read = self._by_header.get(data[: wire.HEADER_SIZE])
        if read is None:
            raise self._unread(data)
        try:
            return read(data)
        except MemoryError:
            raise  # says nothing about the record
        except Exception as error:  # noqa: BLE001 - garbage raises anything; validators may too
            failure = self._failure(error, wire.schema_id_of(data))
        raise failure

    def _decode_bare(self, data: bytes) -> M:
        try:
            return self._bare(data)
        except MemoryError:
            raise  # says nothing about the record
        except Exception as error:  # noqa: BLE001 - as in decode
            failure = self._failure(error, None)
        if wire.schema_id_of(data) is None:
            raise failure
        if self.registry is not None:
            return self._decode_framed(data)
        try:
            return self._bare_framed(data)
        except MemoryError:
            raise  # as above
        except Exception:  # noqa: BLE001 - as in decode; the first reading's error is told
            raise failure from None

    def _reader(self, writer: Any, start: int) -> Callable[[bytes], M]:
        """A function that reads a record which ``writer`` wrote, from byte ``start`` on."""
        if same_shape(writer, self._wanted):
            return self._unresolved(writer, (), start)
        writer, reader = fit(writer, self._wanted)
        dropped = only_drops(writer, reader)
        if dropped is not None:
            return self._unresolved(writer, dropped, start)
        fitted = (fastavro.parse_schema(writer), fastavro.parse_schema(reader))
        return self._compiled(*fitted, (), (), start)

    def _unresolved(
        self, writer: Any, dropped: tuple[str, ...], start: int
    ) -> Callable[[bytes], M]:
        writer, timestamps = _with_plain_timestamps(writer, dropped)
        return self._compiled(fastavro.parse_schema(writer), None, timestamps, dropped, start)

    def _compiled(
        self,
        writer: Any,
        reader: Any,
        timestamps: tuple[str, ...],
        dropped: tuple[str, ...],
        start: int,
    ) -> Callable[[bytes], M]:
        validate = self.model.__pydantic_validator__.validate_python
        schemaless_reader = fastavro.schemaless_reader
        # Derived fields have the names of the model's fields, never their aliases; those of a
        # schema that was given have either.
        by_alias = self._verbatim

        def read(data: bytes) -> M:
            stream = BytesIO(data)
            stream.seek(start)
            values: Any = schemaless_reader(stream, writer, reader)
            if stream.tell() != len(data):
                raise _TrailingBytesError
            for name in dropped:
                del values[name]
            for name in timestamps:
                micros = values[name]
                if micros is not None:
                    values[name] = EPOCH + micros * _MICROSECOND
            message: M = validate(values, by_alias=by_alias, by_name=True)
            return message

        return read

    def _unread(self, data: bytes) -> FlowODMError:
        schema_id = wire.schema_id_of(data)
        if schema_id is None:
            return DeserializationError(f"{self.model.__name__} cannot be read: {_NOT_FRAMED}")
        return SchemaNotLoadedError(schema_id)

    def _failure(self, error: Exception, schema_id: int | None) -> DeserializationError:
        if isinstance(error, ValidationError):
            return not_valid(self.model, error, schema_id)
        text = f"{self.model.__name__} cannot be read: {_reason(error)}"
        return DeserializationError(text, schema_id=schema_id)


def not_valid(
    model: type[BaseModel], error: ValidationError, schema_id: int | None
) -> DeserializationError:
    """What Pydantic refused, without its own text: that quotes the input, which may be secret."""
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    field = ".".join(map(str, first["loc"])) or None
    text = f"{model.__name__} is not valid: {first['msg']}"
    if more:
        text += f", and {len(more)} more"
    return DeserializationError(text, schema_id=schema_id, field=field)


def _with_plain_timestamps(
    schema: dict[str, Any], dropped: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema with its top-level timestamps as plain longs, and the names of those it keeps.

    fastavro takes 0.7 µs for a timestamp, Python 0.2. Deeper ones are left to fastavro, which
    knows which branch of a union it is in.
    """
    fields, timestamps = [], []
    for field in schema["fields"]:
        kind = field["type"]
        if kind == _TIMESTAMP:
            fields.append({**field, "type": "long"})
        elif isinstance(kind, list) and len(kind) == 2 and "null" in kind and _TIMESTAMP in kind:  # noqa: PLR2004 - null and one other
            fields.append({**field, "type": ["long" if k == _TIMESTAMP else k for k in kind]})
        else:
            fields.append(field)
            continue
        if field["name"] not in dropped:
            timestamps.append(field["name"])
    return {**schema, "fields": fields}, tuple(timestamps)


def _parsed(schema: Any) -> dict[str, Any]:
    """The schema with full names, checked by fastavro."""
    try:
        parsed: Any = fastavro.parse_schema(schema, {})
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError) as error:
        raise SchemaValidationError(f"not a valid Avro schema: {error}") from error
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        raise SchemaValidationError("not the schema of a record")
    # The marks of fastavro's own parser would be taken for already parsed after a change.
    return {key: value for key, value in parsed.items() if not key.startswith("__")}


def _from_file(path: str | PathLike[str]) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemaValidationError(f"schema_path {path}: {error.strerror}") from error
    except ValueError as error:
        raise SchemaValidationError(f"schema_path {path} is not JSON: {error}") from error
    return schema


def _from_text(text: str, model: type[BaseModel]) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise SchemaValidationError(
            f"{model.__name__}.Settings.avro_schema is not JSON: {error}"
        ) from error
    return schema


# What an error of reading means, without fastavro's own words, which may quote bytes.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (_TrailingBytesError, "there are bytes after its last field"),
    (EOFError, "the bytes end too early"),
    (UnicodeDecodeError, "a string is not UTF-8"),
    (fastavro.read.SchemaResolutionError, "the writer's schema does not resolve to the model's"),
    (OverflowError, "a date or time is out of Python's range"),
    (IndexError, "a union or an enum has no such branch"),
)


def _reason(error: Exception) -> str:
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    return f"its bytes make no sense ({type(error).__name__})"


def _unwritten(model: type[BaseModel], error: Exception) -> SerializationError:
    if isinstance(error, ValueAtError):
        return SerializationError(f"{model.__name__}.{error.path} cannot be written: {error}")
    # fastavro's TypeErrors name the field; its other errors may quote the value.
    reason = str(error) if isinstance(error, TypeError) else type(error).__name__
    return SerializationError(f"{model.__name__} cannot be written: {reason}")


_codecs: dict[tuple[type[BaseModel], ModelSettings], Codec[Any]] = {}
_codecs_lock = threading.Lock()


def codec_for(model: type[M]) -> Codec[M]:
    """The codec of a model by its Settings and the process's connection, made once for both.

    Raises:
        SettingsError: The model's Settings are incomplete.
        SchemaValidationError: The model has no valid Avro schema.
        ConfigurationError: The registry's configuration is incomplete, or wrong.
    """
    settings = settings_of(model)
    registry = get_kafka_connection().registry
    codec = _codecs.get((model, settings))
    if codec is None or codec.registry is not registry:
        if registry is not None and settings.confluent_wire_format:
            registry.check()  # here and not at the first record, which is not to blame
        with _codecs_lock:
            codec = _codecs.get((model, settings))
            if codec is None or codec.registry is not registry:
                codec = _codecs[model, settings] = Codec(
                    model,
                    subject=settings.subject_of,
                    registry=registry,
                    framed=settings.confluent_wire_format,
                    schema_path=settings.schema_path,
                    avro_schema=settings.avro_schema,
                    auto_register=settings.auto_register,
                    use_latest_version=settings.use_latest_version,
                )
    return codec
