"""The codec that a model's Settings ask for, whichever serialization that is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from flowodm.avro.codec import codec_for as avro_codec_for
from flowodm.connection import get_kafka_connection
from flowodm.model_settings import ModelSettings, settings_of
from flowodm.serialization.json import JsonCodec

if TYPE_CHECKING:
    from flowodm.registry.client import SchemaRegistry

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Make = Callable[[type[Any], ModelSettings, "SchemaRegistry | None"], T]


class ValueCodec(Protocol[M]):
    """Bytes to messages and back: what a record's value is read and written with.

    :class:`flowodm.avro.codec.Codec` and :class:`flowodm.serialization.json.JsonCodec` say what
    each method raises.
    """

    model: type[M]
    subject: str

    @property
    def framed(self) -> bool:
        """Whether written records carry Confluent's header with the id of their schema."""

    @property
    def prepared(self) -> bool:
        """Whether encode needs nothing of the registry any more, and so cannot block."""

    def decode(self, data: bytes) -> M:
        """Read one record's value. No I/O."""

    def load_schema(self, schema_id: int) -> None:
        """Fetch a writer's schema that decode asked for with SchemaNotLoadedError. Blocks."""

    def encode(self, message: M) -> bytes:
        """Write one message. Blocks the first time, unless prepared."""

    def prepare(self) -> None:
        """Do now what the first encode would. Blocks."""

    def register(self) -> int:
        """Register the schema that is written with; returns its id. Blocks."""


def codec_for(model: type[M]) -> ValueCodec[M]:
    """The codec of a model by its Settings and the process's connection, made once for both.

    Raises:
        SettingsError: The model's Settings are incomplete, or a value in them is wrong.
        SchemaValidationError: The model has no schema, or could not read what it writes.
        ConfigurationError: The registry's configuration is incomplete.
    """
    return codec_by(model, settings_of(model))


def codec_by(model: type[M], settings: ModelSettings) -> ValueCodec[M]:
    """The codec of a model whose Settings have been read just now.

    Raises:
        SchemaValidationError, ConfigurationError: As for :func:`codec_for`.
    """
    codec: ValueCodec[M] = _codecs.get(model, settings)
    return codec


class PerConnection(Generic[T]):
    """Makes something once per model, its Settings, and the registry of the connection.

    Settings that have not changed are the same object, see
    :func:`flowodm.model_settings.settings_of`.

    Args:
        make: Called with the three; under a lock.
    """

    def __init__(self, make: Make[T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[type, tuple[ModelSettings, SchemaRegistry | None, T]]
        self._made = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, model: type[BaseModel], settings: ModelSettings) -> T:
        """What belongs to this model now.

        Raises:
            ConfigurationError: The registry's configuration is incomplete.
        """
        registry = get_kafka_connection().registry
        known = self._made.get(model)
        if known is None or known[0] is not settings or known[1] is not registry:
            with self._lock:
                known = self._made.get(model)
                if known is None or known[0] is not settings or known[1] is not registry:
                    known = (settings, registry, self._make(model, settings, registry))
                    self._made[model] = known
        return known[2]


def _codec(
    model: type[Any], settings: ModelSettings, registry: SchemaRegistry | None
) -> ValueCodec[Any]:
    if settings.value_serializer == "avro":
        return avro_codec_for(model)
    return JsonCodec(
        model,
        subject=settings.subject_of,
        registry=registry,
        framed=settings.confluent_wire_format,
        schema_path=settings.schema_path,
        auto_register=settings.auto_register,
        use_latest_version=settings.use_latest_version,
    )


_codecs: PerConnection[ValueCodec[Any]] = PerConnection(_codec)
