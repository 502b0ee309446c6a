"""The schema registry: what we ask it, and once.

Confluent's client does the talking. It waits for ever by default; here every request is bounded,
and each failure is one of those that :mod:`flowodm.registry.answers` tells apart.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from flowodm.exceptions import ConfigurationError, SchemaRegistryError
from flowodm.registry import registration
from flowodm.registry.answers import (
    NotThereError,
    UnknownSchemaIdError,
    UnusableSchemaError,
    asking,
)
from flowodm.registry.references import UndefinedNameError, standalone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

__all__ = ["NotThereError", "SchemaRegistry", "UnknownSchemaIdError", "UnusableSchemaError"]

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

UNUSABLE_ID_KEPT = 60.0
"""Seconds that "no Avro schema has this id" is believed: a flood of bad records asks once."""

_UNUSABLE_IDS = 1_000  # garbage may hold any id; what is remembered of it stays bounded
_LOCKS = 16  # two things share a lock rarely, and then only wait for each other
_LARGEST_ID = 2**31 - 1
_MOST_REFERENCES = 1_000  # a registry forbids circles; this is for one that does not


class _Final(NamedTuple):
    """An answer that is believed for a while; the error itself would keep its frames alive."""

    kept_until: float
    kind: type[UnusableSchemaError]
    text: str


class SchemaRegistry:
    """One registry, asked at most once for each thing. Thread-safe.

    Args:
        config: Properties of Confluent's SchemaRegistryClient; ``url`` is needed. Its time-out
            and retries are bounded here unless given. ``bearer.auth.token`` alone is enough for
            a fixed token.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {**_BOUNDS, **_with_credentials_apart(_with_static_token(config))}
        self.name = _without_credentials(str(config.get("url", "")))
        self._client: SchemaRegistryClient | None = None
        self._client_lock = threading.Lock()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))
        self._references_lock = threading.Lock()  # taken last: those above share places
        self._schemas: dict[int, Any] = {}
        self._ids: dict[tuple[str, str, bool], int] = {}
        self._referenced: dict[tuple[str, int], Schema] = {}
        self._unusable: dict[int, _Final] = {}

    def __repr__(self) -> str:
        return f"SchemaRegistry({self.name!r})"

    @property
    def client(self) -> SchemaRegistryClient:
        """Confluent's own client, made at first use; it raises its own errors.

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
                    _check_timeout(self._config["timeout"])
                    self._client = SchemaRegistryClient(self._config)
                except (ValueError, TypeError, OSError) as error:
                    said = str(error).replace(str(self._config.get("url")), self.name)
                    said = _BEFORE_A_HOST.sub("", said)  # one of several, or no URL at all
                    raise ConfigurationError(
                        f"the schema registry client for {self.name} cannot be made: {said}"
                    ) from None
            return self._client

    def check(self) -> None:
        """Find out whether the properties are right; nothing is asked.

        Raises:
            ConfigurationError: They are not.
        """
        _ = self.client

    def asking(self, what: str) -> AbstractContextManager[None]:
        """A block in which ``client`` is used: its errors become ours.

        Args:
            what: What is asked for, for the errors' text.

        Raises:
            RegistryUnavailableError, SchemaRegistryError, SchemaCompatibilityError: See
                :func:`flowodm.registry.answers.asking`.
        """
        return asking(f"{self.name}, {what}")

    def schema(self, schema_id: int) -> Any:
        """The Avro schema of this id, as JSON data that stands alone; asked for once per process.

        Raises:
            UnusableSchemaError: The registry has no such id (UnknownSchemaIdError), or what it
                has under it is no Avro.
            RegistryUnavailableError: It does not answer now, or has not yet answered another
                thread that asked for the same.
            SchemaRegistryError: It refuses.
        """
        known = self._schemas.get(schema_id)
        if known is not None:
            return known
        what = f"{self.name}, schema {schema_id}"
        with registration.lock_within(
            self._one_at_a_time(schema_id), registration.READ_LOCK_TIMEOUT, what
        ):
            if schema_id in self._schemas:
                return self._schemas[schema_id]
            try:
                self._schemas[schema_id] = self._fetched(schema_id)
            except UnusableSchemaError as error:
                self._remember(schema_id, error)
                raise
            return self._schemas[schema_id]

    def register(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        """Register a schema under a subject, or find it there; asked for once.

        Args:
            subject: Where.
            schema: As JSON data.
            schema_type: The registry's word for its kind: AVRO or JSON.

        Returns:
            The id of exactly this schema.

        Raises:
            SchemaCompatibilityError: The subject's rule forbids it beside its other versions.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: It refuses.
        """
        return self._id_of(subject, schema, schema_type, register=True)

    def lookup(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        """Find a schema among those of a subject, without registering it; asked for once.

        Args:
            subject: Where.
            schema: As JSON data.
            schema_type: The registry's word for its kind: AVRO or JSON.

        Returns:
            The id of exactly this schema.

        Raises:
            NotThereError: The subject does not exist, or does not have it.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: It refuses.
        """
        return self._id_of(subject, schema, schema_type, register=False)

    def latest(self, subject: str, schema_type: str = "AVRO") -> tuple[int, Any]:
        """The subject's latest version: its id, and its schema as :meth:`schema` gives it.

        Asked for each time.

        Raises:
            NotThereError: The subject does not exist.
            UnusableSchemaError: Its latest version is of another type.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: It refuses.
        """
        with self.asking(f"latest version of {subject}"):
            found = self.client.get_version(subject, "latest")
        schema_id = int(found.schema_id or 0)
        if schema_type != "AVRO":
            what = f"schema {schema_id} of {self.name}"
            if found.schema.schema_type != schema_type:
                raise UnusableSchemaError(f"{what} is not {schema_type}")
            return schema_id, _parsed(found.schema.schema_str, what)
        with self._one_at_a_time(schema_id):
            if schema_id not in self._schemas:
                self._schemas[schema_id] = self._read(found.schema, schema_id)
            return schema_id, self._schemas[schema_id]

    def forget(self, subject: str) -> None:
        """Ask anew what is known of a subject: it was deleted."""
        for key in tuple(self._ids):
            if key[0] == subject:
                self._ids.pop(key, None)
        self._forget_answers()

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        with self._client_lock:
            client, self._client = self._client, None
        # Older clients of Confluent's have no close().
        if client is not None and hasattr(client, "close"):
            client.close()

    def _forget_answers(self) -> None:
        """Confluent's client remembers what it was told; older ones have no way to clear that."""
        clear = getattr(self.client, "clear_caches", self.close)
        clear()

    def _one_at_a_time(self, key: Any) -> threading.Lock:
        return self._locks[hash(key) % _LOCKS]

    def _id_of(self, subject: str, schema: Any, schema_type: str, *, register: bool) -> int:
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 - see client

        text = json.dumps(schema)
        key = (subject, text, register)
        what = f"{self.name}, subject {subject}"
        with registration.lock_within(
            self._one_at_a_time((subject, text)), registration.WRITE_LOCK_TIMEOUT, what
        ):
            known = self._ids.get(key)
            if known is None:
                own = Schema(text, schema_type)
                with self.asking(f"subject {subject}"):
                    if register:
                        known = self.client.register_schema(subject, own)
                    else:
                        known = int(self.client.lookup_schema(subject, own).schema_id or 0)
                self._ids[key] = known
                if schema_type == "AVRO":
                    self._schemas.setdefault(known, schema)
                logger.info("subject %s has schema %d in %s", subject, known, self.name)
            return known

    def _fetched(self, schema_id: int) -> Any:
        final = self._unusable.get(schema_id)
        if final is not None and time.monotonic() < final.kept_until:
            raise final.kind(final.text)
        unknown = UnknownSchemaIdError(f"{self.name} knows no schema of id {schema_id}")
        if not 0 <= schema_id <= _LARGEST_ID:
            # A registry's ids are signed and of 32 bits; it would call this one a bad request.
            raise unknown
        try:
            with self.asking(f"schema {schema_id}"):
                answer = self.client.get_schema(schema_id)
        except NotThereError as error:
            raise unknown from error
        return self._read(answer, schema_id)

    def _read(self, answer: Schema, schema_id: int) -> Any:
        """The schema in an answer, with the schemas that it refers to."""
        what = f"schema {schema_id} of {self.name}"
        if not isinstance(answer.schema_str, str):
            self._forget_answers()  # this one would be given again and again
            raise SchemaRegistryError(f"{what}: the answer holds no schema")
        if answer.schema_type not in {None, "AVRO"}:
            raise UnusableSchemaError(f"{what} is {answer.schema_type}, not Avro")
        own = _parsed(answer.schema_str, what)
        if not answer.references:
            return own
        try:
            return standalone(own, list(self._followed(answer.references, what)))
        except UndefinedNameError as error:
            raise UnusableSchemaError(f"{what} uses {error}, which is defined nowhere") from None

    def _followed(self, references: Iterable[SchemaReference], what: str) -> Iterable[Any]:
        """Every schema that is referred to, directly or by another one; each asked for once."""
        waiting = list(references)
        seen: set[tuple[str, int]] = set()
        while waiting and len(seen) < _MOST_REFERENCES:
            reference = waiting.pop()
            place = (str(reference.subject), int(reference.version or 0))
            if place in seen:
                continue
            seen.add(place)
            with self._references_lock:
                if place not in self._referenced:
                    with self.asking(f"{what} refers to {place[0]} version {place[1]}"):
                        # Deleted versions too: records written before are still there.
                        found = self.client.get_version(*place, deleted=True)
                    self._referenced[place] = found.schema
                schema = self._referenced[place]
            waiting.extend(schema.references or ())
            yield _parsed(schema.schema_str, f"{place[0]} version {place[1]}")

    def _remember(self, schema_id: int, error: UnusableSchemaError) -> None:
        now = time.monotonic()
        final = self._unusable.get(schema_id)
        if final is not None and now < final.kept_until:
            return  # it is this memory that has answered
        if len(self._unusable) >= _UNUSABLE_IDS:
            self._unusable.clear()
        self._unusable[schema_id] = _Final(now + UNUSABLE_ID_KEPT, type(error), str(error))


_BEFORE_A_HOST = re.compile(r"[^\s,]*@")


def _check_timeout(seconds: object) -> None:
    """What Confluent's client would only find out while it asks; None would wait for ever."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise TypeError("timeout must be a number of seconds above 0")


def _with_static_token(config: Mapping[str, Any]) -> dict[str, Any]:
    """A token that is simply there needs no more said; Confluent's client wants it all."""
    if "bearer.auth.token" not in config or "bearer.auth.credentials.source" in config:
        return dict(config)
    source = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": ""}
    return {**source, **config}


def _with_credentials_apart(config: dict[str, Any]) -> dict[str, Any]:
    """Take user and password out of the addresses: the HTTP library logs those as they are."""
    addresses = str(config.get("url", "")).split(",")
    try:
        parts = [urlsplit(address.strip()) for address in addresses]
    except ValueError:  # its text may quote the password
        name = _without_credentials(str(config["url"]))
        raise ConfigurationError(f"the schema registry's address is no URL: {name}") from None
    users = [f"{unquote(p.username)}:{unquote(p.password or '')}" for p in parts if p.username]
    if not users:
        return config
    bare = ",".join(p._replace(netloc=p.netloc.rpartition("@")[2]).geturl() for p in parts)
    own = {} if any(n.startswith("bearer.") for n in config) else {"basic.auth.user.info": users[0]}
    return {**own, **config, "url": bare}


def _parsed(text: str | None, what: str) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        # Confluent's registry keeps a bare primitive, such as "string", without quotes.
        if text and text.isalpha():
            return text
        raise UnusableSchemaError(f"{what} is not JSON") from None


def _without_credentials(urls: str) -> str:
    """The address without user and password; rather too little of it than a part of them."""
    return re.sub(r"^(\w+://)?.*@", r"\1", urls)
