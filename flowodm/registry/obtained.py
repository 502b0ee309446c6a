"""The id of one schema, got from the registry once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from flowodm.registry import turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.registry.client import SchemaRegistry
    from flowodm.registry.registration import Registration


class ObtainedId:
    """An id that whoever needs it first gets from the registry. Thread-safe.

    Args:
        registry: Who is asked; None: there is nothing to get, and ``header`` is empty.
        registration: How.
        schema: Makes the schema, as JSON data.
        frame: Makes what is written before a value from the id.
    """

    def __init__(
        self,
        registry: SchemaRegistry | None,
        registration: Registration,
        schema: Callable[[], Any],
        frame: Callable[[int], bytes],
    ) -> None:
        self._registry = registry
        self._registration = registration
        self._schema = schema
        self._frame = frame
        self._lock = threading.Lock()
        self.header: bytes | None = b"" if registry is None else None

    def get(self) -> bytes:
        """What is written before a value. Blocks the first time.

        Raises:
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`flowodm.registry.registration.Registration.obtain`.
        """
        if self.header is not None or self._registry is None:
            return self.header or b""
        what = f"{self._registry}, subject {self._registration.subject}"
        with turns.turn(self._lock, turns.WRITING_TURN, what):
            if self.header is None:
                schema_id, _ = self._registration.obtain(self._registry, self._schema())
                self.header = self._frame(schema_id)
            return self.header
