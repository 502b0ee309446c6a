"""Write messages as Avro records, and read them.

With a registry, records carry Confluent's header: they are written with exactly the schema of
their id, and read with the writer's schema of theirs, resolved to the model's. Without one they
are bare Avro. A record is then read as bare Avro that uses up every byte; only if that fails and
its first byte is zero, as the body after a header of five bytes.

A codec is made once per model class and connection. The slow steps happen once: deriving and
parsing the model's schema, and fetching and fitting each writer's schema (``reader.py``).
"""

from __future__ import annotations

import json
import logging
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import fastavro
from pydantic import BaseModel

from flowodm.avro import wire
from flowodm.avro.build_hooks import classes_to_build
from flowodm.avro.errors import unread, unwritten
from flowodm.avro.mapping import mapped
from flowodm.avro.named_classes import classes_named
from flowodm.avro.parsing import parsed_record, schema_from_text
from flowodm.avro.reader import RecordReaders
from flowodm.avro.resolution import CannotFitError
from flowodm.avro.writer import compile_writer, physical
from flowodm.connection.model_cache import ModelCache
from flowodm.exceptions import (
    ConfigurationError,
    DeserializationError,
    FlowODMError,
    SchemaValidationError,
)
from flowodm.model_settings import ModelSettings, settings_of
from flowodm.registry.answers import UnusableSchemaError
from flowodm.registry.references import UndefinedNameError
from flowodm.registry.registration import RegisteredId, Registration

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from flowodm.registry.client import SchemaRegistry

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

_NOT_FRAMED = (
    "the record has no schema id in Confluent's format; if the topic holds bare Avro, set "
    "confluent_wire_format = False in the model's Settings"
)


def schema_from_file(path: str | PathLike[str]) -> Any:
    """Return the JSON in the file that a model's ``schema_path`` names.

    Raises:
        SchemaValidationError: The file cannot be read, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemaValidationError(f"schema_path {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SchemaValidationError(f"schema_path {path} is not JSON: {error}") from error


class SchemaNotLoadedError(FlowODMError):
    """The writer's schema of a record is not loaded: call ``load_schema``, then decode again.

    Attributes:
        schema_id: The id to pass to :meth:`Codec.load_schema`.
    """

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id} is not loaded yet")
        self.schema_id = schema_id


class Codec(Generic[M]):
    """Reads and writes the records of one model. Thread-safe.

    Args:
        model: The class of the messages.
        subject: The registry's subject, or a function that returns it, given the full name of
            the schema's record.
        registry: Where schemas of framed records come from; None: all records are bare Avro.
        framed: Whether records carry Confluent's header; without a registry they never do.
        schema_path: An .avsc file to write with, instead of the schema derived from the model.
        avro_schema: JSON text of a schema to write and to read with, instead of both others.
        auto_register: See :class:`~flowodm.registry.registration.Registration`.
        use_latest_version: See :class:`~flowodm.registry.registration.Registration`.

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
        self.registry = registry
        self._framed = framed and registry is not None
        model_schema, self._classes = _schema_and_classes(model, avro_schema)
        self._wanted = parsed_record(model_schema)
        self._readers = RecordReaders(
            model,
            self._wanted,
            classes_to_build(self._wanted, self._classes),
            by_alias=bool(avro_schema),
        )
        self._own_schema = model_schema
        if schema_path and not avro_schema:
            self._own_schema = schema_from_file(schema_path)
        written = parsed_record(self._own_schema)
        self._write_with(self._own_schema, written)
        self.subject = subject if isinstance(subject, str) else subject(written["name"])
        self._id = RegisteredId(
            registry if self._framed else None,
            Registration(self.subject, auto_register, use_latest_version),
            schema=lambda: self._own_schema,
            frame=wire.header,
            use_schema=self._write_with_latest,
        )
        try:
            self._bare = self._readers.reader(written, 0)
            self._bare_framed = self._readers.reader(written, wire.HEADER_SIZE)
        except CannotFitError as error:
            text = f"{model.__name__} cannot read what it would write with schema_path"
            raise SchemaValidationError(f"{text} {schema_path}: {error}") from error
        self._by_header: dict[bytes, Callable[[bytes], M]] = {}

    def __repr__(self) -> str:
        return f"Codec({self.model.__name__}, subject={self.subject!r})"

    @property
    def framed(self) -> bool:
        """Whether records carry Confluent's header with the id of their schema."""
        return self._framed

    @property
    def prepared(self) -> bool:
        """Whether encode does not ask the registry any more, and so cannot block."""
        return self._id.header is not None

    def decode(self, data: bytes) -> M:
        """Read one record's value. No I/O.

        Raises:
            DeserializationError: The bytes are not a message of the model. The text holds no
                values of the record except in Pydantic's own messages.
            SchemaNotLoadedError: The record is framed, and its writer's schema is not loaded.
        """
        return self._decode_framed(data) if self._framed else self._decode_bare(data)

    def load_schema(self, schema_id: int) -> None:
        """Fetch and prepare a writer's schema. Blocks: one request per id and process.

        Raises:
            RegistryUnavailableError: The registry does not answer now; the record may be good.
            DeserializationError: The registry does not have the id, or its schema is not Avro,
                or records of it cannot be read as this model.
            ConfigurationError: There is no registry.
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
            self._by_header[header] = self._readers.framed_reader(self.registry.schema(schema_id))
        except (
            UnusableSchemaError,
            SchemaValidationError,
            CannotFitError,
            UndefinedNameError,
        ) as error:
            text = f"{self.model.__name__} cannot be read: {error}"
            field = error.field if isinstance(error, CannotFitError) else None
            raise DeserializationError(text, schema_id=schema_id, field=field) from error

    def encode(self, message: M) -> bytes:
        """Write one message. Blocks the first time, if the schema must be registered.

        Raises:
            SerializationError: A value does not fit its field.
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`prepare`.
        """
        header = self._id.header
        if header is None:
            header = self._id.get()
        stream = BytesIO()
        stream.write(header)
        self._write(stream, message)
        return stream.getvalue()

    def prepare(self) -> None:
        """Get the schema's id, if records are framed, as the first encode would. Blocks.

        Raises:
            RegistryUnavailableError: The registry does not answer now.
            SchemaCompatibilityError: The subject does not accept the schema.
            SchemaValidationError: The subject's latest schema is to be used, and is not that of
                a record.
            SchemaRegistryError: The registry refuses, or lacks a schema that must not be
                registered.
        """
        self._id.get()

    def register(self) -> int:
        """Register the model's schema, whatever ``auto_register`` says; return its id. Blocks.

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
        return self.registry.register(self.subject, self._own_schema)

    def to_dict(self, message: M) -> dict[str, Any]:
        """Return the message as Avro data: timestamps as datetimes, enums as their symbols.

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
        except Exception as error:  # noqa: BLE001 - fastavro raises many exceptions for a bad value
            failure = unwritten(self.model, error)
        else:
            return
        raise failure

    def _write_with(self, schema: dict[str, Any], parsed: dict[str, Any]) -> None:
        self.schema = schema
        self._to_avro = compile_writer(parsed, self._classes)
        self._physical = fastavro.parse_schema(physical(parsed))

    def _write_with_latest(self, schema: Any, schema_id: int) -> None:
        """Write with the subject's latest schema instead of the model's own from now on."""
        parsed = parsed_record(schema)
        names = {field["name"] for field in parsed["fields"]}
        missing = sorted(
            field["name"]
            for field in self._wanted["fields"]
            if names.isdisjoint({field["name"], *field.get("aliases", ())})
        )
        if missing:
            _log.warning(
                "%s: the latest schema of subject %s (id %d) has no %s: not written",
                self.model.__name__,
                self.subject,
                schema_id,
                ", ".join(missing),
            )
        self._write_with(schema, parsed)

    def _decode_framed(self, data: bytes) -> M:
        read = self._by_header.get(data[: wire.HEADER_SIZE])
        if read is None:
            raise self._not_loaded(data)
        try:
            return read(data)
        except MemoryError:
            raise  # the record may be good
        except Exception as error:  # noqa: BLE001 - bad bytes and validators raise anything
            failure = unread(self.model, error, wire.schema_id_of(data))
        raise failure

    def _decode_bare(self, data: bytes) -> M:
        try:
            return self._bare(data)
        except MemoryError:
            raise  # the record may be good
        except Exception as error:  # noqa: BLE001 - as in _decode_framed
            failure = unread(self.model, error, None)
        if wire.schema_id_of(data) is None:
            raise failure
        if self.registry is not None:
            return self._decode_framed(data)
        try:
            return self._bare_framed(data)
        except MemoryError:
            raise  # as above
        except Exception:  # noqa: BLE001 - as above; the error of the first reading is raised
            raise failure from None

    def _not_loaded(self, data: bytes) -> FlowODMError:
        """Return the error for a record whose header is not one of the loaded schemas'."""
        schema_id = wire.schema_id_of(data)
        if schema_id is None:
            return DeserializationError(f"{self.model.__name__} cannot be read: {_NOT_FRAMED}")
        return SchemaNotLoadedError(schema_id)


def _schema_and_classes(
    model: type[BaseModel], avro_schema: str | None
) -> tuple[dict[str, Any], dict[str, type]]:
    """Return the schema that a model is read with, and the classes of its named types."""
    if not avro_schema:
        return mapped(model)
    schema = schema_from_text(avro_schema, model)
    return schema, classes_named(model, parsed_record(schema))


def codec_for(model: type[M]) -> Codec[M]:
    """Return the codec of a model by its Settings and the process's connection.

    It is made once for both.

    Raises:
        SettingsError: The model's Settings are incomplete.
        SchemaValidationError: The model has no valid Avro schema.
        ConfigurationError: The registry's configuration is incomplete, or wrong.
    """
    return codec_by(model, settings_of(model))


def codec_by(model: type[M], settings: ModelSettings) -> Codec[M]:
    """Return the codec of a model whose Settings have just been read.

    Raises:
        SchemaValidationError, ConfigurationError: As for :func:`codec_for`.
    """
    codec: Codec[M] = _codecs.get(model, settings)
    return codec


def _make(model: type[Any], settings: ModelSettings, registry: SchemaRegistry | None) -> Codec[Any]:
    if registry is not None:
        registry.check()  # here, since the first record is not to blame for a wrong property
    return Codec(
        model,
        subject=settings.subject_of,
        registry=registry,
        framed=settings.confluent_wire_format,
        schema_path=settings.schema_path,
        avro_schema=settings.avro_schema,
        auto_register=settings.auto_register,
        use_latest_version=settings.use_latest_version,
    )


_codecs: ModelCache[Codec[Any]] = ModelCache("avro_codec", _make)
