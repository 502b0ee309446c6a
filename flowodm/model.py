"""Kafka messages as Pydantic models."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict

from flowodm.avro.codec import codec_for as avro_codec_for
from flowodm.consume.methods import ConsumingModel
from flowodm.model_settings import ModelSettings, settings_of
from flowodm.produce.methods import ProducingModel
from flowodm.serialization.codecs import codec_for

__all__ = ["FlowBaseModel", "ModelSettings", "settings_of"]


class NoSettings:
    """An empty class for the inner Settings to derive from."""


class FlowBaseModel(ProducingModel, ConsumingModel):
    """A message of a topic: a Pydantic model that can be produced and consumed.

    ::

        class OrderEvent(FlowBaseModel):
            class Settings:
                topic = "orders"
                consumer_group = "order-processor"
                key_field = "order_id"

            order_id: str
            amount: float

    The inner ``Settings`` may set every field of
    :class:`~flowodm.model_settings.ModelSettings`, and inherits the settings of base classes.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    Settings: ClassVar[type] = NoSettings

    @classmethod
    def register_schema(cls) -> int:
        """Register the schema with which this class is written; return its id.

        Raises:
            ConfigurationError: No registry is configured.
            SchemaCompatibilityError: The subject does not accept the schema.
            RegistryUnavailableError: The registry does not answer.
            SchemaRegistryError: The registry refuses the request.
        """
        return codec_for(cls).register()

    def to_avro_dict(self) -> dict[str, Any]:
        """Return this message as Avro's data: datetimes in UTC, enums as their symbols.

        Raises:
            SerializationError: A value does not fit its field.
        """
        return avro_codec_for(type(self)).to_dict(self)
