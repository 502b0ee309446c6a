"""Choose the codec that a model's Settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel

from flowodm.avro import codec as avro
from flowodm.connection.model_cache import ModelCache
from flowodm.model_settings import settings_of
from flowodm.serialization.json import JsonCodec

if TYPE_CHECKING:
    from flowodm.model_settings import ModelSettings
    from flowodm.registry.client import SchemaRegistry

M = TypeVar("M", bound=BaseModel)


class ValueCodec(Protocol[M]):
    """Reads and writes the values of one model's records.

    :class:`flowodm.avro.codec.Codec` and :class:`flowodm.serialization.json.JsonCodec` document
    what each method raises.
    """

    model: type[M]
    subject: str

    @property
    def framed(self) -> bool:
        """Whether written records carry Confluent's header with the id of their schema."""

    @property
    def prepared(self) -> bool:
        """Whether encode does not ask the registry any more, and so cannot block."""

    def decode(self, data: bytes) -> M:
        """Read one record's value. No I/O."""

    def load_schema(self, schema_id: int) -> None:
        """Fetch a writer's schema that decode asked for with SchemaNotLoadedError. Blocks."""

    def encode(self, message: M) -> bytes:
        """Write one message. Blocks the first time, unless prepared."""

    def prepare(self) -> None:
        """Get the schema's id, if records are framed, as the first encode would. Blocks."""

    def register(self) -> int:
        """Register the schema that records are written with; return its id. Blocks."""


def codec_for(model: type[M]) -> ValueCodec[M]:
    """Return the codec of a model by its Settings and the process's connection.

    It is made once for both.

    Raises:
        SettingsError: The model's Settings are incomplete, or a value in them is wrong.
        SchemaValidationError: The model has no schema, or could not read what it writes.
        ConfigurationError: The registry's configuration is incomplete.
    """
    return codec_by(model, settings_of(model))


def codec_by(model: type[M], settings: ModelSettings) -> ValueCodec[M]:
    """Return the codec of a model whose Settings have just been read.

    Raises:
        SchemaValidationError, ConfigurationError: As for :func:`codec_for`.
    """
    if settings.value_serializer == "avro":
        return avro.codec_by(model, settings)
    codec: ValueCodec[M] = _json_codecs.get(model, settings)
    return codec


def _make_json_codec(
    model: type[Any], settings: ModelSettings, registry: SchemaRegistry | None
) -> JsonCodec[Any]:
    return JsonCodec(
        model,
        subject=settings.subject_of,
        registry=registry,
        framed=settings.confluent_wire_format,
        schema_path=settings.schema_path,
        auto_register=settings.auto_register,
        use_latest_version=settings.use_latest_version,
    )


_json_codecs: ModelCache[JsonCodec[Any]] = ModelCache("json_codec", _make_json_codec)
