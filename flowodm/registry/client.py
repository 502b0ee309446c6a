"""The schema registry: what we ask it, once, and what its failures mean.

Confluent's client does the talking. It waits for ever by default and tells its errors apart by
status only; here every request is bounded, and each failure is one of three things: the
registry does not answer now, it does not know the id, or it refuses.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowodm.exceptions import (
    ConfigurationError,
    RegistryUnavailableError,
    SchemaCompatibilityError,
    SchemaRegistryError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka.schema_registry import SchemaRegistryClient

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT = 5.0
"""Seconds that each phase of a request (connect, send, wait for an answer) may take."""

# One retry, at once: it covers a kept-alive connection that the server has closed meanwhile.
# Waiting for a registry that is down is the business of the caller, who can keep polling.
_BOUNDS = {
    "timeout": REQUEST_TIMEOUT,
    "max.retries": 1,
    "retries.wait.ms": 100,
    "retries.max.wait.ms": 100,
}

UNKNOWN_ID_KEPT = 60.0
"""Seconds that "no such id" is believed, so that a flood of bad records asks once."""

_UNKNOWN_IDS = 1_000  # garbage may hold any id; what is remembered of it stays bounded
_LOCKS = 16  # two things share a lock rarely, and then only wait for each other

_NOT_FOUND = 404
_CONFLICT = 409
_UNKNOWN_SCHEMA = 40403  # "schema not found" in the registry's own numbers
_PASSING = frozenset({408, 429})
_SERVER_ERROR = 500


class UnknownSchemaIdError(SchemaRegistryError):
    """The registry answered that it has no schema of this id."""


class SchemaRegistry:
    """One registry, asked at most once for each thing. Thread-safe.

    Args:
        config: Properties of Confluent's SchemaRegistryClient; ``url`` is needed. Its time-out
            and retries are bounded here unless given.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {**_BOUNDS, **config}
        self.name = _without_credentials(str(config.get("url", "")))
        self._client: SchemaRegistryClient | None = None
        self._client_lock = threading.Lock()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))
        self._schemas: dict[int, Any] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._unknown: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"SchemaRegistry({self.name!r})"

    @property
    def client(self) -> SchemaRegistryClient:
        """Confluent's own client, made at first use.

        Raises:
            ConfigurationError: The properties are wrong.
        """
        with self._client_lock:
            if self._client is None:
                # The import takes 150 ms, which a program without a registry need not pay.
                from confluent_kafka.schema_registry import (  # noqa: PLC0415 - as said above
                    SchemaRegistryClient,
                )

                try:
                    self._client = SchemaRegistryClient(self._config)
                except (ValueError, TypeError, OSError) as error:
                    said = str(error).replace(str(self._config.get("url")), self.name)
                    raise ConfigurationError(
                        f"the schema registry client for {self.name} cannot be made: {said}"
                    ) from None
            return self._client

    def schema(self, schema_id: int) -> Any:
        """The Avro schema of this id, as JSON data; asked for once per process.

        Raises:
            UnknownSchemaIdError: The registry has no such id.
            RegistryUnavailableError: It does not answer now.
            SchemaRegistryError: It refuses, or what it has is not plain Avro.
        """
        with self._one_at_a_time(schema_id):
            if schema_id in self._schemas:
                return self._schemas[schema_id]
            if time.monotonic() < self._unknown.get(schema_id, 0.0):
                raise self._unknown_id(schema_id)
            with self._asking(f"schema {schema_id}", schema_id):
                answer = self.client.get_schema(schema_id)
            if answer.schema_type not in {None, "AVRO"}:
                raise SchemaRegistryError(f"schema {schema_id} is {answer.schema_type}, not Avro")
            if answer.references:
                raise SchemaRegistryError(
                    f"schema {schema_id} refers to other subjects, which is not supported yet"
                )
            self._schemas[schema_id] = _parsed(answer.schema_str, f"schema {schema_id}")
            return self._schemas[schema_id]

    def register(self, subject: str, schema: Any) -> int:
        """Register an Avro schema under a subject, or find it there; asked for once.

        Returns:
            The id of exactly this schema.

        Raises:
            SchemaCompatibilityError: The subject's rule forbids it beside its other versions.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: It refuses.
        """
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 - see client

        text = json.dumps(schema)
        with self._one_at_a_time((subject, text)):
            known = self._ids.get((subject, text))
            if known is None:
                with self._asking(f"subject {subject}"):
                    known = self.client.register_schema(subject, Schema(text, "AVRO"))
                self._ids[subject, text] = known
                self._schemas.setdefault(known, schema)
                logger.info("subject %s has schema %d in %s", subject, known, self.name)
            return known

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        with self._client_lock:
            client, self._client = self._client, None
        # Older clients of Confluent's have no close().
        if client is not None and hasattr(client, "close"):
            client.close()

    def _one_at_a_time(self, key: Any) -> threading.Lock:
        return self._locks[hash(key) % _LOCKS]

    def _unknown_id(self, schema_id: int) -> UnknownSchemaIdError:
        return UnknownSchemaIdError(f"{self.name} knows no schema of id {schema_id}")

    @contextmanager
    def _asking(self, what: str, schema_id: int | None = None) -> Iterator[None]:
        """Turn the client's errors into ours."""
        try:
            yield
        except (ConfigurationError, SchemaRegistryError):
            raise
        except Exception as error:
            status = getattr(error, "http_status_code", None)
            code = getattr(error, "error_code", None)
            place = f"{self.name}, {what}"
            if status == _NOT_FOUND and code == _UNKNOWN_SCHEMA and schema_id is not None:
                if len(self._unknown) >= _UNKNOWN_IDS:
                    self._unknown.clear()
                self._unknown[schema_id] = time.monotonic() + UNKNOWN_ID_KEPT
                raise self._unknown_id(schema_id) from error
            if status == _CONFLICT:
                raise SchemaCompatibilityError(f"{place}: {error}") from error
            if _is_passing(status, error):
                shown = str(error) or type(error).__name__
                raise RegistryUnavailableError(f"{place}: no answer: {shown}") from error
            if status is not None:
                raise SchemaRegistryError(f"{place}: {error}") from error
            if isinstance(error, ValueError) or type(error).__module__.startswith("httpx"):
                # Such as an invalid URL: the text may quote a part of it, a password's included.
                raise SchemaRegistryError(f"{place}: {type(error).__name__}") from None
            raise


def _is_passing(status: int | None, error: Exception) -> bool:
    if status is not None:
        return status in _PASSING or status >= _SERVER_ERROR
    # httpx or httpx2, whichever Confluent's client uses: known by the class, not by an import.
    return isinstance(error, OSError) or any(
        cls.__name__ == "TransportError" for cls in type(error).__mro__
    )


def _parsed(text: str | None, what: str) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        # Confluent's registry keeps a bare primitive, such as "string", without quotes.
        if text and text.isalpha():
            return text
        raise SchemaRegistryError(f"{what} is not JSON") from None


def _without_credentials(urls: str) -> str:
    """The address without user and password; rather too little of it than a part of them."""
    return re.sub(r"^(\w+://)?.*@", r"\1", urls)
