"""What the registry's failures mean: it does not answer now, it refuses, or its answer is final.

Confluent's client tells its errors apart by status only, and lets those of its HTTP client, its
token providers and its JSON parser through as they are. To a consumer all of these are trouble
with the registry: only a final answer says anything about a record.
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

if TYPE_CHECKING:
    from collections.abc import Iterator

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 401, 403, 404, 409
_PASSING = frozenset({408, 429})
_SERVER_ERROR = 500

#: The registry's own numbers for what it does not have; a 404 with another one comes from a
#: proxy or a wrong base URL.
_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA = 40401, 40402, 40403


class NotThereError(SchemaRegistryError):
    """The registry answered that it does not have what it was asked for."""


class UnusableSchemaError(SchemaRegistryError):
    """The registry has given its final answer on an id: no Avro schema is behind it.

    A record that names this id cannot be read, now or later.
    """


class UnknownSchemaIdError(NotThereError, UnusableSchemaError):
    """The registry answered that it has no schema of this id."""


@contextmanager
def asking(place: str) -> Iterator[None]:
    """Turn whatever goes wrong while the registry is asked into this library's errors.

    Args:
        place: Which registry, and what it is asked for; begins every error's text.

    Raises:
        RegistryUnavailableError: It does not answer now: no connection, no TLS, no token, a
            time-out, or one of the statuses 408, 429 and 5xx.
        NotThereError: It does not have that.
        SchemaCompatibilityError: The subject's rule forbids the schema.
        SchemaRegistryError: It refuses, or its answer makes no sense.
    """
    try:
        yield
    except (ConfigurationError, SchemaRegistryError, SchemaCompatibilityError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, no record is to blame for it
        translated, quotable = _translated(place, error)
        raise translated from (error if quotable else None)


def _translated(place: str, error: Exception) -> tuple[Exception, bool]:
    """Our error, and whether the cause's own text may be shown beside it."""
    status = getattr(error, "http_status_code", None)
    if status is not None:
        return _answered(place, status, error), True
    if isinstance(error, OSError) or _is_called("TransportError", error):
        said = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            said += (
                "; name the authority to trust as ssl.ca.location in "
                "connect(schema_registry_config=...)"
            )
        return RegistryUnavailableError(f"{place}: no answer: {said}"), True
    if _is_called("OAuthTokenError", error):
        # Its text quotes the identity provider's answer, which may quote what it was sent.
        return RegistryUnavailableError(f"{place}: no token from the identity provider"), False
    # Such as an invalid URL, of which the text quotes a part, a password's included; or an
    # answer that is no JSON.
    return SchemaRegistryError(f"{place}: {type(error).__name__}"), False


def _answered(place: str, status: int, error: Exception) -> Exception:
    text = f"{place}: {error}"
    if status == NOT_FOUND:
        code = getattr(error, "error_code", None)
        known = {_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA}
        return (NotThereError if code in known else SchemaRegistryError)(text)
    if status == CONFLICT:
        return SchemaCompatibilityError(text)
    if status in _PASSING or status >= _SERVER_ERROR:
        return RegistryUnavailableError(text)
    if status in {UNAUTHORIZED, FORBIDDEN}:
        return SchemaRegistryError(f"{text}: check the credentials of connect() and their rights")
    return SchemaRegistryError(text)


def _is_called(name: str, error: Exception) -> bool:
    """By its classes' names: which HTTP library Confluent's client uses depends on its version."""
    return any(cls.__name__ == name for cls in type(error).__mro__)
