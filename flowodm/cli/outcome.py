"""Map errors to exit statuses."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from flowodm.cli.process import ExitStatus
from flowodm.exceptions import (
    ConfigurationError,
    ConnectionError,  # noqa: A004 - the public name is part of the contract
    FlowODMError,
    RegistryUnavailableError,
    SchemaCompatibilityError,
    SchemaValidationError,
)

_UNANSWERED = {
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the constant's public name
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001 - the same
    KafkaError._RESOLVE,  # noqa: SLF001 - the same
    KafkaError._TIMED_OUT,  # noqa: SLF001 - the same
    KafkaError._TRANSPORT,  # noqa: SLF001 - the same
    KafkaError._WAIT_COORD,  # noqa: SLF001 - the same
}
"""The codes of errors that mean that Kafka does not answer."""


class UnreachableError(FlowODMError):
    """No broker answers."""


def status_of(error: Exception) -> ExitStatus:
    """Return the exit status for an error."""
    match error:
        case SchemaCompatibilityError():
            return ExitStatus.NO
        case ConfigurationError() | SchemaValidationError():
            return ExitStatus.CONFIGURATION
        case UnreachableError() | RegistryUnavailableError() | ConnectionError():
            return ExitStatus.UNREACHABLE
        case _:
            unanswered = _is_unanswered(error)
            return ExitStatus.UNREACHABLE if unanswered else ExitStatus.REFUSED


def _is_unanswered(error: BaseException) -> bool:
    """Tell whether a time-out or a lost connection to Kafka is the error or one of its causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return True
        if isinstance(cause, KafkaException) and cause.args[0].code() in _UNANSWERED:
            return True
        cause = cause.__cause__
    return False
