"""Find the schema that a writer uses, and the id that its records carry."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flowodm.exceptions import RegistryUnavailableError, SchemaRegistryError
from flowodm.registry.answers import NotThereError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

READ_LOCK_TIMEOUT = 1.0
"""Seconds that a reader waits for another thread that fetches the same schema.

While the registry is silent, every handler of a loop would otherwise wait as long as the requests
take, also those whose records have a known schema. The loop retries the record.
"""

WRITE_LOCK_TIMEOUT = 10.0
"""Seconds that a writer waits for another thread that registers the same schema.

About as long as a request may take. While the registry is silent, each of many threads then waits
for two requests at most instead of for those of all others.
"""


class Registrar(Protocol):
    """The methods of a schema registry that find the id of a schema."""

    def register(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        """Register a schema under a subject; return its id."""

    def lookup(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        """Return the id of a schema that the subject has."""

    def latest(self, subject: str, schema_type: str = "AVRO") -> tuple[int, Any]:
        """Return the id and the schema of the subject's latest version."""


@dataclass(frozen=True, slots=True)
class Registration:
    """How the writers of one subject find the id of their schema.

    Attributes:
        subject: The registry's subject.
        auto_register: Whether to register a schema that the subject does not have; if False,
            such a schema is an error.
        use_latest_version: Whether to write records with the subject's latest schema instead of
            the model's own. If True, nothing is registered, whatever ``auto_register`` says.
        schema_type: ``AVRO`` or ``JSON``.
    """

    subject: str
    auto_register: bool = True
    use_latest_version: bool = False
    schema_type: str = "AVRO"

    def obtain(self, registry: Registrar, model_schema: Any) -> tuple[int, Any]:
        """Return the schema id to write, and the schema with exactly this id. Blocks.

        Args:
            registry: The registry to ask.
            model_schema: The model's own schema, as JSON data.

        Raises:
            SchemaCompatibilityError: The subject does not accept the schema.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: The registry refuses, or the subject does not have the schema.
        """
        try:
            if self.use_latest_version:
                return registry.latest(self.subject, self.schema_type)
            if not self.auto_register:
                return registry.lookup(self.subject, model_schema, self.schema_type), model_schema
        except NotThereError as error:
            problem = "has no schema" if self.use_latest_version else "does not have this schema"
            raise SchemaRegistryError(
                f"subject {self.subject} {problem}: register it (Model.register_schema(), or "
                f"`flowodm upload-schema`), or set auto_register = True and use_latest_version "
                f"= False in the model's Settings ({error})"
            ) from error
        return registry.register(self.subject, model_schema, self.schema_type), model_schema


class RegisteredId:
    """The id of a writer's schema, fetched from the registry once. Thread-safe.

    Args:
        registry: The registry to ask; None: there is no id, and ``header`` is empty.
        registration: How to find the id.
        schema: Returns the model's own schema, as JSON data.
        frame: Returns what is written before a value, given the id.
        use_schema: Called with the schema and its id before ``header`` is set, if that schema is
            not the model's own.

    Attributes:
        header: What is written before a value; None until the id is known.
    """

    def __init__(
        self,
        registry: Registrar | None,
        registration: Registration,
        schema: Callable[[], Any],
        frame: Callable[[int], bytes],
        use_schema: Callable[[Any, int], None] | None = None,
    ) -> None:
        self._registry = registry
        self._registration = registration
        self._schema = schema
        self._frame = frame
        self._use_schema = use_schema
        self._lock = threading.Lock()
        self.header: bytes | None = b"" if registry is None else None

    def get(self) -> bytes:
        """Return what is written before a value. Blocks the first time.

        Raises:
            SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
                :meth:`Registration.obtain`.
        """
        if self.header is not None or self._registry is None:
            return self.header or b""
        request = f"{self._registry}, subject {self._registration.subject}"
        with writer_lock(self._lock, request):
            if self.header is None:
                model_schema = self._schema()
                schema_id, schema = self._registration.obtain(self._registry, model_schema)
                if self._use_schema is not None and schema is not model_schema:
                    self._use_schema(schema, schema_id)
                # Set last: a thread that sees the header writes with the schema of this id.
                self.header = self._frame(schema_id)
            return self.header


def reader_lock(lock: threading.Lock, request: str) -> AbstractContextManager[None]:
    """Hold a lock in the block; wait for it as long as a reader may.

    Args:
        lock: Held by the thread that asks the registry.
        request: What is asked for, for the error's text.

    Raises:
        RegistryUnavailableError: Another thread has held the lock for all that time.
    """
    return _lock_within(lock, READ_LOCK_TIMEOUT, request)


def writer_lock(lock: threading.Lock, request: str) -> AbstractContextManager[None]:
    """Hold a lock in the block; wait for it as long as a writer may.

    Arguments and errors are those of :func:`reader_lock`.
    """
    return _lock_within(lock, WRITE_LOCK_TIMEOUT, request)


@contextmanager
def _lock_within(lock: threading.Lock, seconds: float, request: str) -> Iterator[None]:
    if not lock.acquire(timeout=seconds):
        raise RegistryUnavailableError(
            f"{request}: another thread is still waiting for the registry's answer"
        )
    try:
        yield
    finally:
        lock.release()
