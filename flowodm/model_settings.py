"""Read and check a model's inner ``class Settings``. Pure."""

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
"""The values of ``key_serializer``."""
VALUE_SERIALIZERS = ("avro", "json")
"""The values of ``value_serializer``."""
TOPIC, RECORD, TOPIC_RECORD = "topic", "record", "topic_record"
_CHOICES = {
    "subject_strategy": (TOPIC, RECORD, TOPIC_RECORD),
    "key_serializer": KEY_SERIALIZERS,
    "value_serializer": VALUE_SERIALIZERS,
}
"""The settings that have a fixed set of values."""
_TEXTS = ("consumer_group", "schema_subject", "key_field")
"""The settings that must be text, or None."""

_LEGAL_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""The topic names that Kafka's brokers accept (org.apache.kafka.common.internals.Topic)."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The settings of a model: where its records are, and how they are written.

    The inner ``class Settings`` of a model may set each of them. docs/tables.py makes a table of
    the fields, from the strings below them.
    """

    topic: str
    """The Kafka topic."""
    consumer_group: str | None = None
    """The consumer group, unless a call or a loop names another one."""
    key_field: str | None = None
    """The field whose value is the record's key. None: records have no key."""
    key_serializer: str = "string"
    """How the key is written: "string", "avro" or "json"."""
    value_serializer: str = "avro"
    """How the value is written: "avro" or "json"."""
    confluent_wire_format: bool = True
    """Whether records begin with a schema id, if there is a registry."""
    schema_subject: str = ""
    """The subject in the registry. Empty: ``subject_strategy`` decides."""
    subject_strategy: str = TOPIC
    """Which schemas share a subject, as Confluent's subject name strategies: "topic", those of a
    topic, under ``{topic}-value``; "record", those of a record type, under its full name;
    "topic_record", those of a record type in a topic, under ``{topic}-{full name}``."""
    auto_register: bool = True
    """Whether the first record that is written registers its schema, if the subject does not have
    it. With False, a schema that the subject does not have is an error."""
    use_latest_version: bool = False
    """Whether records are written with the latest schema of the subject instead of the model's own.
    It is fetched once; nothing is registered."""
    schema_path: str | None = None
    """An .avsc file with the schema for writing records. None: the model's fields define it."""
    avro_schema: str | None = None
    """A schema for writing and reading records, as JSON text, which wins over ``schema_path``.
    Generated models have it, as a class cannot hold every detail of a schema."""

    def subject_of(self, record: str) -> str:
        """Return the registry's subject of the value's schema.

        Args:
            record: The full name of the schema's record.
        """
        if self.schema_subject:
            return self.schema_subject
        return record if self.subject_strategy == RECORD else f"{self.topic}-{record}"


def settings_of(model: type[BaseModel]) -> ModelSettings:
    """Return the settings of a model; those that it does not set come from its base classes.

    Changes of the Settings classes take effect, such as ``Model.Settings.topic`` in a test. As
    long as nothing changes, each call returns the same object.

    Raises:
        SettingsError: The topic is missing, or a value is wrong; the text names the class.
    """
    cached = _cache.get(model)
    if cached is not None and cached.is_current(model):
        return cached.settings
    settings = _read(model)
    _cache[model] = _Cached.of(model, settings)
    return settings


class _Cached(NamedTuple):
    """Settings, and the classes from which they were read."""

    settings: ModelSettings
    inner: list[Any]
    contents: tuple[tuple[type, dict[str, Any]], ...]

    @classmethod
    def of(cls, model: type[BaseModel], settings: ModelSettings) -> _Cached:
        inner = _inner_classes(model)
        sources: set[type] = set()
        for settings_class in inner:
            if isinstance(settings_class, type):
                sources.update(settings_class.__mro__[:-1])
        contents = tuple((source, dict(vars(source))) for source in sources)
        return cls(settings, inner, contents)

    def is_current(self, model: type[BaseModel]) -> bool:
        """Tell whether neither the classes nor their contents have changed."""
        for source, content in self.contents:
            if vars(source) != content:
                return False
        return _inner_classes(model) == self.inner


_cache: WeakKeyDictionary[type, _Cached] = WeakKeyDictionary()


def _inner_classes(model: type[BaseModel]) -> list[Any]:
    """Return the inner Settings, or None, of a model and of each of its base classes."""
    return [cls.__dict__.get("Settings") for cls in model.__mro__]


def _read(model: type[BaseModel]) -> ModelSettings:
    name = model.__name__
    values = _declared(model)
    topic = values.get("topic")
    if not isinstance(topic, str) or not topic:
        raise SettingsError(
            f"{name} has no topic: give it an inner class Settings with topic = '...'"
        )
    _check_topic(name, topic)
    _check_types(name, values)
    _check_choices(name, values)
    if not values.get("schema_subject"):
        by_topic = values.get("subject_strategy", TOPIC) == TOPIC
        values["schema_subject"] = f"{topic}-value" if by_topic else ""
    if values.get("schema_path") is not None:
        values["schema_path"] = str(values["schema_path"])
    key_field = values.get("key_field")
    if key_field is not None and key_field not in model.model_fields:
        raise SettingsError(f"{name}.Settings.key_field: there is no field {key_field!r}")
    return ModelSettings(**values)


def _declared(model: type[BaseModel]) -> dict[str, Any]:
    """Return the settings that a model or one of its base classes sets."""
    values: dict[str, Any] = {}
    for cls in model.__mro__:
        inner = cls.__dict__.get("Settings")
        if not isinstance(inner, type):
            continue
        _check_names(cls.__name__, inner)
        for field in fields(ModelSettings):
            if hasattr(inner, field.name):
                values.setdefault(field.name, getattr(inner, field.name))
    return values


def _check_names(name: str, inner: type) -> None:
    """Refuse names that look like a misspelt setting; other names are the program's own."""
    names = [field.name for field in fields(ModelSettings)]
    for attribute in vars(inner):
        if attribute in names or attribute.startswith("_"):
            continue
        similar = get_close_matches(attribute, names, n=1, cutoff=0.8)
        if similar:
            raise SettingsError(
                f"{name}.Settings.{attribute}: there is no such setting; did you mean {similar[0]}?"
            )


def _check_topic(name: str, topic: str) -> None:
    if not _LEGAL_TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise SettingsError(
            f"{name}.Settings.topic: {topic!r} is not a topic name: "
            "use 1 to 249 letters, digits, dots, underscores and hyphens"
        )


def _check_types(name: str, values: dict[str, Any]) -> None:
    for field in fields(ModelSettings):
        value = values.get(field.name, field.default)
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise SettingsError(
                f"{name}.Settings.{field.name}: must be True or False, got {value!r}"
            )
    for text in _TEXTS:
        if not isinstance(values.get(text), str | None):
            raise SettingsError(f"{name}.Settings.{text}: must be text, got {values[text]!r}")
    if not isinstance(values.get("avro_schema"), str | None):
        raise SettingsError(
            f"{name}.Settings.avro_schema: must be JSON text, such as json.dumps(schema)"
        )


def _check_choices(name: str, values: dict[str, Any]) -> None:
    for setting, choices in _CHOICES.items():
        if setting in values and values[setting] not in choices:
            raise SettingsError(
                f"{name}.Settings.{setting}: must be one of "
                f"{', '.join(map(repr, choices))}, got {values[setting]!r}"
            )
