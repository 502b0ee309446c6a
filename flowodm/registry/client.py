"""Ask the schema registry for schemas and ids, each only once.

The requests are made by Confluent's client. It waits without a limit by default; here every
request has a time-out, and each failure is one of those in :mod:`flowodm.registry.answers`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from flowodm.blocking import bounded
from flowodm.exceptions import ConfigurationError, SchemaRegistryError
from flowodm.registry.answers import (
    NotThereError,
    UnknownSchemaIdError,
    UnusableSchemaError,
    translated_errors,
)
from flowodm.registry.bounds import LARGEST_ID, bound_answers, checked_id, nests_too_deeply
from flowodm.registry.properties import (
    DEFAULTS,
    USER_INFO,
    check_timeout,
    seconds_of,
    with_credentials_apart,
    with_static_token,
    without_credentials,
)
from flowodm.registry.references import UndefinedNameError, standalone
from flowodm.registry.registration import reader_lock, writer_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

__all__ = ["NotThereError", "SchemaRegistry", "UnknownSchemaIdError", "UnusableSchemaError"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


UNUSABLE_ID_TTL = 60.0
"""Seconds that "no Avro schema has this id" is cached: many bad records cause one request."""

_MOST_UNUSABLE_IDS = 1_000
"""The most ids cached as unusable: bytes that are not a record may hold any id."""

_LOCKS = 16
"""The number of locks. Two requests rarely share one, and then only wait for each other."""

_TOTAL_TIMEOUTS = 4
"""How many times a request may take the time-out of one of its phases, with its retry."""

_MOST_REFERENCES = 100
"""The most schemas that one schema may refer to, directly or by way of others."""


class _CachedError(NamedTuple):
    """An error that is raised again for a while; the error itself would keep its frames alive."""

    expires: float
    kind: type[UnusableSchemaError]
    text: str


class SchemaRegistry:
    """A schema registry that is asked at most once for each schema and id. Thread-safe.

    Args:
        config: Properties of Confluent's SchemaRegistryClient; ``url`` is needed. Time-out and
            retries have defaults. ``bearer.auth.token`` alone is enough for a fixed token.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {**DEFAULTS, **with_credentials_apart(with_static_token(config))}
        self.name = without_credentials(str(config.get("url", "")))
        self._total_timeout = _TOTAL_TIMEOUTS * seconds_of(self._config["timeout"])
        self._client: SchemaRegistryClient | None = None
        self._client_lock = threading.Lock()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))
        self._references_lock = threading.Lock()  # always taken after one of those above
        self._schemas: dict[int, Any] = {}
        self._ids: dict[tuple[str, str, bool], int] = {}
        self._referenced: dict[tuple[str, int], Schema] = {}
        self._unusable: dict[int, _CachedError] = {}

    def __repr__(self) -> str:
        return f"SchemaRegistry({self.name!r})"

    @property
    def client(self) -> SchemaRegistryClient:
        """Confluent's own client, made at the first use; it raises its own errors.

        Raises:
            ConfigurationError: The properties are wrong.
        """
        with self._client_lock:
            if self._client is None:
                # The import takes 150 ms, which a program without a registry need not pay.
                from confluent_kafka.schema_registry import (  # noqa: PLC0415 - see above
                    SchemaRegistryClient,
                )

                try:
                    check_timeout(self._config["timeout"])
                    self._client = SchemaRegistryClient(self._config)
                    bound_answers(self._client)
                except (ValueError, TypeError, OSError) as error:
                    reason = str(error).replace(str(self._config.get("url")), self.name)
                    reason = USER_INFO.sub("", reason)  # it may quote one address of several
                    raise ConfigurationError(
                        f"cannot create the schema registry client for {self.name}: {reason}"
                    ) from None
            return self._client

    def check(self) -> None:
        """Check the properties, without a request.

        Raises:
            ConfigurationError: A property is wrong.
        """
        _ = self.client

    def translated_errors(self, request: str) -> AbstractContextManager[None]:
        """Translate the errors of ``client`` in the block.

        Args:
            request: What is asked for, for the errors' text.

        Raises:
            RegistryUnavailableError, SchemaRegistryError, SchemaCompatibilityError: See
                :func:`flowodm.registry.answers.translated_errors`.
        """
        return translated_errors(f"{self.name}, {request}")

    def schema(self, schema_id: int) -> Any:
        """Return the Avro schema of an id, with all it refers to, as JSON data.

        It is fetched once per process.

        Raises:
            UnusableSchemaError: The registry does not have the id (UnknownSchemaIdError), or its
                schema is not Avro.
            RegistryUnavailableError: The registry does not answer now, or has not yet answered
                another thread that asks for the same schema.
            SchemaRegistryError: The registry refuses.
        """
        cached = self._schemas.get(schema_id)
        if cached is not None:
            return cached
        request = f"{self.name}, schema {schema_id}"
        with reader_lock(self._lock_of(schema_id), request):
            if schema_id in self._schemas:
                return self._schemas[schema_id]
            try:
                self._schemas[schema_id] = self._fetch(schema_id)
            except UnusableSchemaError as error:
                self._cache_error(schema_id, error)
                raise
            return self._schemas[schema_id]

    def register(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        """Register a schema under a subject, or find it there. The id is fetched once.

        Args:
            subject: The registry's subject.
            schema: The schema, as JSON data.
            schema_type: ``AVRO`` or ``JSON``.

        Returns:
            The id of exactly this schema.

        Raises:
            SchemaCompatibilityError: The subject's compatibility level forbids it.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: The registry refuses.
        """
        return self._id_of(subject, schema, schema_type, register=True)

    def lookup(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        """Find a schema among those of a subject, without registering it. The id is fetched once.

        Args:
            subject: The registry's subject.
            schema: The schema, as JSON data.
            schema_type: ``AVRO`` or ``JSON``.

        Returns:
            The id of exactly this schema.

        Raises:
            NotThereError: The subject does not exist, or does not have the schema.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: The registry refuses.
        """
        return self._id_of(subject, schema, schema_type, register=False)

    def latest(self, subject: str, schema_type: str = "AVRO") -> tuple[int, Any]:
        """Return the id and the schema of the subject's latest version, as :meth:`schema` does.

        It is fetched at every call.

        Raises:
            NotThereError: The subject does not exist.
            UnusableSchemaError: Its latest version is of another type.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: The registry refuses.
        """
        version = self._ask(
            f"latest version of {subject}", lambda: self.client.get_version(subject, "latest")
        )
        place = f"{self.name}, latest version of {subject}"
        schema_id = self._checked_id(version.schema_id, place)
        if schema_type != "AVRO":
            return schema_id, self._read_other(version.schema, schema_id, schema_type)
        with self._lock_of(schema_id):
            if schema_id not in self._schemas:
                self._schemas[schema_id] = self._read(version.schema, schema_id)
            return schema_id, self._schemas[schema_id]

    def forget(self, subject: str) -> None:
        """Clear what is cached of a subject, because it was deleted or may have been."""
        for key in tuple(self._ids):
            if key[0] == subject:
                self._ids.pop(key, None)
        self._clear_client_cache()

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with self._client_lock:
            client, self._client = self._client, None
        # Older clients of Confluent's have no close().
        if client is not None and hasattr(client, "close"):
            client.close()

    def _clear_client_cache(self) -> None:
        # Older clients of Confluent's have no clear_caches().
        clear = getattr(self.client, "clear_caches", self.close)
        clear()

    def _lock_of(self, key: Any) -> threading.Lock:
        return self._locks[hash(key) % _LOCKS]

    def _id_of(self, subject: str, schema: Any, schema_type: str, *, register: bool) -> int:
        text = json.dumps(schema)
        key = (subject, text, register)
        request = f"{self.name}, subject {subject}"
        with writer_lock(self._lock_of((subject, text)), request):
            if key not in self._ids:
                schema_id = self._fetch_id(subject, text, schema_type, register=register)
                self._ids[key] = schema_id
                if schema_type == "AVRO":
                    self._schemas.setdefault(schema_id, schema)
                _log.info("subject %s has schema %d in %s", subject, schema_id, self.name)
            return self._ids[key]

    def _fetch_id(self, subject: str, text: str, schema_type: str, *, register: bool) -> int:
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 - see client

        schema = Schema(text, schema_type)
        client = self.client
        if register:
            answer: object = self._ask(
                f"subject {subject}", lambda: client.register_schema(subject, schema)
            )
        else:
            found = self._ask(f"subject {subject}", lambda: client.lookup_schema(subject, schema))
            answer = found.schema_id
        return self._checked_id(answer, f"{self.name}, subject {subject}")

    def _ask(self, request: str, call: Callable[[], T]) -> T:
        """Make a request, bounded as a whole, whatever each part of it may take.

        Raises:
            RegistryUnavailableError, SchemaRegistryError, SchemaCompatibilityError: See
                :func:`flowodm.registry.answers.translated_errors`.
        """
        with self.translated_errors(request):
            try:
                return bounded(call, self._total_timeout)
            except TimeoutError:
                self.close()  # ends the request, which would go on in its thread
                raise

    def _checked_id(self, schema_id: object, place: str) -> int:
        try:
            return checked_id(schema_id, place)
        except SchemaRegistryError:
            self._clear_client_cache()  # it would return this answer again and again
            raise

    def _fetch(self, schema_id: int) -> Any:
        cached = self._unusable.get(schema_id)
        if cached is not None and time.monotonic() < cached.expires:
            raise cached.kind(cached.text)
        unknown = UnknownSchemaIdError(f"{self.name} has no schema with id {schema_id}")
        if not 0 <= schema_id <= LARGEST_ID:
            # The registry's ids are signed 32-bit integers: it would call this a bad request.
            raise unknown
        try:
            response = self._ask(f"schema {schema_id}", lambda: self.client.get_schema(schema_id))
        except NotThereError as error:
            raise unknown from error
        return self._read(response, schema_id)

    def _read_other(self, response: Schema, schema_id: int, schema_type: str) -> Any:
        """Return the data of a schema that is not Avro."""
        place = f"schema {schema_id} of {self.name}"
        if response.schema_type != schema_type:
            raise UnusableSchemaError(f"{place} is not {schema_type}")
        return _parsed(response.schema_str, place)

    def _read(self, response: Schema, schema_id: int) -> Any:
        """Return the Avro schema in a response, with the schemas that it refers to."""
        place = f"schema {schema_id} of {self.name}"
        if not isinstance(response.schema_str, str):
            self._clear_client_cache()  # it would return this response again and again
            raise SchemaRegistryError(f"{place}: the response contains no schema")
        if response.schema_type not in {None, "AVRO"}:
            raise UnusableSchemaError(f"{place} is {response.schema_type}, not Avro")
        schema = _parsed(response.schema_str, place)
        if not response.references:
            return schema
        try:
            return standalone(schema, list(self._referenced_schemas(response.references, place)))
        except UndefinedNameError as error:
            raise UnusableSchemaError(f"{place} uses {error}, which is defined nowhere") from None

    def _referenced_schemas(
        self, references: Iterable[SchemaReference], place: str
    ) -> Iterable[Any]:
        """Yield every schema that is referred to, directly or by another one, once."""
        waiting = list(references)
        seen: set[tuple[str, int]] = set()
        while waiting:
            if len(seen) >= _MOST_REFERENCES:
                raise UnusableSchemaError(f"{place} refers to more than {_MOST_REFERENCES} schemas")
            reference = waiting.pop()
            number = self._checked_id(reference.version, f"{place} refers to a version")
            version = (str(reference.subject), number)
            if version not in seen:
                seen.add(version)
                schema = self._fetch_version(version, place)
                waiting.extend(schema.references or ())
                yield _parsed(schema.schema_str, f"{version[0]} version {version[1]}")

    def _fetch_version(self, version: tuple[str, int], place: str) -> Schema:
        """Return the schema of a subject's version that ``place`` refers to; fetched once."""
        with self._references_lock:
            if version not in self._referenced:
                # Deleted versions too: records written before the deletion still exist.
                registered = self._ask(
                    f"{place} refers to {version[0]} version {version[1]}",
                    lambda: self.client.get_version(*version, deleted=True),
                )
                self._referenced[version] = registered.schema
            return self._referenced[version]

    def _cache_error(self, schema_id: int, error: UnusableSchemaError) -> None:
        now = time.monotonic()
        cached = self._unusable.get(schema_id)
        if cached is not None and now < cached.expires:
            return  # the error came from this cache
        if len(self._unusable) >= _MOST_UNUSABLE_IDS:
            self._unusable.clear()
        self._unusable[schema_id] = _CachedError(now + UNUSABLE_ID_TTL, type(error), str(error))


def _parsed(text: str | None, place: str) -> Any:
    too_deep = UnusableSchemaError(f"{place} nests too deeply")
    try:
        schema = json.loads(text or "")
    except RecursionError:
        raise too_deep from None
    except (ValueError, TypeError):
        # Confluent's registry stores a primitive type, such as "string", without quotes.
        if isinstance(text, str) and text.isalpha():
            return text
        raise UnusableSchemaError(f"{place} is not JSON") from None
    if nests_too_deeply(schema):  # Python's own limit differs from version to version
        raise too_deep
    return schema
