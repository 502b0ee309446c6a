"""Keep what is made once for a model class, without keeping the class alive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flowodm.connection.singleton import get_kafka_connection

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flowodm.model_settings import ModelSettings
    from flowodm.registry.client import SchemaRegistry

T = TypeVar("T")

Make = Callable[[type[Any], "ModelSettings", "SchemaRegistry | None"], T]


class ModelCache(Generic[T]):
    """Makes something once for a model, its Settings, and the registry of the connection.

    It is stored in the class's own ``__dict__``, not in a table. What is made refers to its
    class, so a table would keep the class alive as long as the process, even with weak keys.
    Stored on the class, both are freed together.

    Args:
        name: Tells this cache from others on the same class.
        make: Called with the three; under a lock.
    """

    def __init__(self, name: str, make: Make[T]) -> None:
        self._attribute = f"__flowodm_{name}__"
        self._make = make
        self._lock = threading.Lock()

    def get(self, model: type[BaseModel], settings: ModelSettings) -> T:
        """Return what belongs to this model, made anew if Settings or registry have changed.

        Raises:
            ConfigurationError: The registry's configuration is incomplete.
        """
        registry = get_kafka_connection().registry
        entry: _Entry[T] | None = model.__dict__.get(self._attribute)
        if entry is None or not entry.is_for(settings, registry):
            with self._lock:
                entry = model.__dict__.get(self._attribute)
                if entry is None or not entry.is_for(settings, registry):
                    entry = _Entry(settings, registry, self._make(model, settings, registry))
                    setattr(model, self._attribute, entry)
        return entry.value


class _Entry(Generic[T]):
    """What was made, and what it was made for."""

    __slots__ = ("_registry", "_settings", "value")

    def __init__(self, settings: ModelSettings, registry: SchemaRegistry | None, value: T) -> None:
        self._settings = settings
        self._registry = registry
        self.value = value

    def is_for(self, settings: ModelSettings, registry: SchemaRegistry | None) -> bool:
        # Settings that have not changed are usually the same object.
        same_settings = self._settings is settings or self._settings == settings
        return same_settings and self._registry is registry

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Become None in a copy of the class, such as cloudpickle makes: codecs hold locks."""
        return type(None), ()
