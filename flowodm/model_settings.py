"""What a model's inner ``class Settings`` says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from flowodm.exceptions import SettingsError

if TYPE_CHECKING:
    from pydantic import BaseModel


KEY_SERIALIZERS = ("string", "avro", "json")
VALUE_SERIALIZERS = ("avro", "json")

TOPIC, RECORD, TOPIC_RECORD = "topic", "record", "topic_record"
_STRATEGIES = (TOPIC, RECORD, TOPIC_RECORD)

_LEGAL_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""As Kafka's brokers have it (org.apache.kafka.common.internals.Topic)."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Where a model's records live and how they are written.

    Attributes:
        topic: The Kafka topic.
        consumer_group: The group that consumers of this model join, unless told otherwise.
        schema_subject: The registry's subject; by default what ``subject_strategy`` says.
        subject_strategy: Whose schemas share one history in the registry: those of a topic
            (``topic``: ``{topic}-value``), of a record type (``record``: its full name), or of
            a record type in a topic (``topic_record``: ``{topic}-{full name}``). Source:
            "Subject name strategy" in the documentation of Confluent's registry.
        auto_register: Whether a schema that its subject does not have is registered when the
            first record is written; if not, that is an error.
        use_latest_version: Whether records are written with the latest schema of the subject
            instead of the model's own; nothing is registered then. It is asked for once.
        schema_path: An .avsc file whose schema records are written with; None derives the
            schema from the model.
        avro_schema: That schema itself, as JSON text; wins over ``schema_path``. Records are read
            with it too: generated models have it, so that no detail of their source gets lost.
        key_field: The field whose value is the record's key; None writes no key.
        key_serializer: How the key is written: ``string``, ``avro`` or ``json``.
        value_serializer: How the value is written: ``avro`` or ``json``.
        confluent_wire_format: Whether records carry a schema id where there is a registry.
    """

    topic: str
    consumer_group: str | None = None
    schema_subject: str = ""
    schema_path: str | None = None
    avro_schema: str | None = None
    key_field: str | None = None
    key_serializer: str = "string"
    value_serializer: str = "avro"
    confluent_wire_format: bool = True
    subject_strategy: str = TOPIC
    auto_register: bool = True
    use_latest_version: bool = False

    def subject_of(self, record: str) -> str:
        """The registry's subject of the value's schema.

        Args:
            record: The full name of the schema's record.
        """
        if self.schema_subject:
            return self.schema_subject
        return record if self.subject_strategy == RECORD else f"{self.topic}-{record}"


def settings_of(model: type[BaseModel]) -> ModelSettings:
    """Read a model's Settings; what it does not say, its base classes' Settings say.

    What has changed since the last time, such as ``Model.Settings.topic`` in a test, counts;
    while nothing has, the same object is returned.

    Raises:
        SettingsError: The topic is missing, or a value is wrong; the message names the class.
            (A ConfigurationError.)
    """
    known = _known.get(model)
    if known is not None and all(vars(cls) == then for cls, then in known.seen):
        inner = [cls.__dict__.get("Settings") for cls in model.__mro__]
        if inner == known.inner:
            return known.settings
    settings = _read(model)
    inner = [cls.__dict__.get("Settings") for cls in model.__mro__]
    classes = {cls for own in inner if isinstance(own, type) for cls in own.__mro__[:-1]}
    _known[model] = _Known(inner, tuple((cls, dict(vars(cls))) for cls in classes), settings)
    return settings


class _Known(NamedTuple):
    """What was read, and what it was read from."""

    inner: list[Any]
    seen: tuple[tuple[type, dict[str, Any]], ...]
    settings: ModelSettings


_known: WeakKeyDictionary[type, _Known] = WeakKeyDictionary()


def _read(model: type[BaseModel]) -> ModelSettings:
    found: dict[str, Any] = {}
    for cls in model.__mro__:
        inner = cls.__dict__.get("Settings")
        if isinstance(inner, type):
            _check_names(cls.__name__, inner)
            for field in fields(ModelSettings):
                if hasattr(inner, field.name):
                    found.setdefault(field.name, getattr(inner, field.name))
    name = model.__name__
    topic = found.get("topic")
    if not isinstance(topic, str) or not topic:
        raise SettingsError(
            f"{name} has no topic: give it an inner class Settings with topic = '...'"
        )
    _check_values(name, found)
    strategy = found.setdefault("subject_strategy", TOPIC)
    if strategy not in _STRATEGIES:
        raise SettingsError(
            f"{name}.Settings.subject_strategy: {strategy!r} is none of {', '.join(_STRATEGIES)}"
        )
    by_topic = f"{topic}-value" if strategy == TOPIC else ""
    found["schema_subject"] = found.get("schema_subject") or by_topic
    if found.get("schema_path") is not None:
        found["schema_path"] = str(found["schema_path"])
    if not isinstance(found.get("avro_schema"), str | None):
        raise SettingsError(f"{name}.Settings.avro_schema: give JSON text: json.dumps(schema)")
    settings = ModelSettings(**found)
    _check_serializers(name, settings)
    if settings.key_field is not None and settings.key_field not in model.model_fields:
        raise SettingsError(f"{name}.Settings.key_field: there is no field {settings.key_field!r}")
    return settings


def _check_names(name: str, inner: type) -> None:
    """A program may keep settings of its own here; a slip of the pen is none."""
    known = [field.name for field in fields(ModelSettings)]
    for given in vars(inner):
        near = get_close_matches(given, known, n=1, cutoff=0.8)
        if near and given not in known and not given.startswith("_"):
            raise SettingsError(
                f"{name}.Settings.{given}: there is no such setting; did you mean {near[0]}?"
            )


def _check_values(name: str, found: dict[str, Any]) -> None:
    for field in fields(ModelSettings):
        value = found.get(field.name)
        if isinstance(field.default, bool) and not isinstance(found.get(field.name, True), bool):
            raise SettingsError(f"{name}.Settings.{field.name}: {value!r} is not True or False")
    for text in ("consumer_group", "schema_subject", "key_field"):
        if not isinstance(found.get(text), str | None):
            raise SettingsError(f"{name}.Settings.{text}: {found[text]!r} is not text")
    if not _LEGAL_TOPIC.fullmatch(found["topic"]) or found["topic"] in {".", ".."}:
        raise SettingsError(
            f"{name}.Settings.topic: {found['topic']!r} is no name of a topic: "
            "1 to 249 letters, digits, dots, underscores and hyphens"
        )


def _check_serializers(name: str, settings: ModelSettings) -> None:
    for attribute, supported in (
        ("key_serializer", KEY_SERIALIZERS),
        ("value_serializer", VALUE_SERIALIZERS),
    ):
        value = getattr(settings, attribute)
        if value not in supported:
            raise SettingsError(
                f"{name}.Settings.{attribute}: {value!r} is not supported; "
                f"use one of {', '.join(map(repr, supported))}"
            )
