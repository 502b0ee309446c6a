"""Translate the registry's failures: it does not answer now, it refuses, or its answer is final.

Confluent's client distinguishes its errors by status only, and does not catch those of its HTTP
client, its token providers and its JSON parser. For a consumer all of these are failures of the
registry: only a final answer shows that a record is bad.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowodm.exceptions import (
    ConfigurationError,
    RegistryUnavailableError,
    SchemaCompatibilityError,
    SchemaRegistryError,
)
from flowodm.registry.bounds import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 401, 403, 404, 409
_TEMPORARY = frozenset({408, 429})
"""Statuses that mean "ask again later", like those from 500 on."""

_SERVER_ERROR = 500

_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA = 40401, 40402, 40403
"""The registry's own codes; a 404 with another code comes from a proxy or a wrong base URL."""


class NotThereError(SchemaRegistryError):
    """The registry answered that it does not have the subject, version or schema."""


class UnusableSchemaError(SchemaRegistryError):
    """The registry has no Avro schema with an id, and this will not change.

    A record with this id cannot be read, now or later.
    """


class UnknownSchemaIdError(NotThereError, UnusableSchemaError):
    """The registry answered that it has no schema of this id."""


@contextmanager
def translated_errors(place: str) -> Iterator[None]:
    """Translate every exception of the block into an error of this library.

    Args:
        place: The registry and what it is asked for; every error's text begins with it.

    Raises:
        RegistryUnavailableError: The registry does not answer now: no connection, no TLS, no
            token, a time-out, or one of the statuses 408, 429 and 5xx.
        NotThereError: The registry does not have what it is asked for.
        SchemaCompatibilityError: The subject's compatibility level forbids the schema.
        SchemaRegistryError: The registry refuses, or its answer cannot be understood.
    """
    try:
        yield
    except (ConfigurationError, SchemaRegistryError, SchemaCompatibilityError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - no record is to blame for any of these
        translated, quotable = _translated(place, error)
        raise translated from (error if quotable else None)


def _translated(place: str, error: Exception) -> tuple[Exception, bool]:
    """Return this library's error, and whether the cause's own text may be shown with it."""
    status = getattr(error, "http_status_code", None)
    if status is not None:
        return _answered(place, status, error), True
    if isinstance(error, OSError) or _has_class_named("TransportError", error):
        reason = shown(str(error) or type(error).__name__)
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            reason += (
                "; set the certificate authority to trust as ssl.ca.location in "
                "connect(schema_registry_config=...)"
            )
        return RegistryUnavailableError(f"{place}: no answer: {reason}"), True
    if _has_class_named("OAuthTokenError", error):
        # Its text quotes the identity provider's answer, which may quote secrets.
        return RegistryUnavailableError(f"{place}: no token from the identity provider"), False
    # For example an invalid URL, whose text may quote a password; or an answer that is not JSON.
    return SchemaRegistryError(f"{place}: {type(error).__name__}"), False


def _answered(place: str, status: int, error: Exception) -> Exception:
    """Return the error for an answer with this HTTP status."""
    text = f"{place}: {shown(error)}"
    if status == NOT_FOUND:
        code = getattr(error, "error_code", None)
        if code in {_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA}:
            return NotThereError(text)
        return SchemaRegistryError(text)
    if status == CONFLICT:
        return SchemaCompatibilityError(text)
    if status in _TEMPORARY or status >= _SERVER_ERROR:
        return RegistryUnavailableError(text)
    if status in {UNAUTHORIZED, FORBIDDEN}:
        return SchemaRegistryError(
            f"{text}: check the credentials given to connect() and their permissions"
        )
    return SchemaRegistryError(text)


def _has_class_named(name: str, error: Exception) -> bool:
    """Tell by names, since Confluent's client uses another HTTP library in another version."""
    return any(cls.__name__ == name for cls in type(error).__mro__)
