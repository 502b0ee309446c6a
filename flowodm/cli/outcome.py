"""What the command's exit statuses mean, and which one an error comes to."""

from __future__ import annotations

from enum import IntEnum

from confluent_kafka import KafkaError, KafkaException

from flowodm.exceptions import (
    ConfigurationError,
    ConnectionError,  # noqa: A004 - the public name is part of the contract
    FlowODMError,
    RegistryUnavailableError,
    SchemaCompatibilityError,
    SchemaValidationError,
)


class ExitStatus(IntEnum):
    """The exit statuses of the command `flowodm`."""

    DONE = 0
    """It is done, and the answer is yes where there is a question."""
    NO = 1
    """The answer is no: a model does not fit, a line or a record could not be read."""
    USAGE = 2
    """The command line is wrong."""
    REFUSED = 5
    """Kafka or the registry answered, and refused."""
    UNREACHABLE = 69
    """Kafka or the registry does not answer (EX_UNAVAILABLE)."""
    BROKEN = 70
    """A mistake of the command itself, with a traceback (EX_SOFTWARE)."""
    UNAVAILABLE = 71
    """The system refused something, or the broker for development does not start (EX_OSERR)."""
    OUTPUT_FAILED = 74
    """The output cannot be written (EX_IOERR)."""
    CONFIGURATION = 78
    """What the command is to work with is missing or wrong: an address, a model (EX_CONFIG)."""
    INTERRUPTED = 130
    """Ctrl-C."""


STATUSES = """
\b
Exit status:
  0   done, and the answer is yes where there is a question
  1   the answer is no: a model does not fit its schema, or some lines or
      records could not be read
  2   wrong command line
  5   Kafka or the registry refused what it was asked for
  69  Kafka or the registry does not answer
  70  a mistake of this command, with a traceback
  71  the broker for development does not start
  74  the output could not be written
  78  a model, a file or an address is missing or wrong
  130 Ctrl-C
"""

_UNANSWERED = {
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the constant's public name
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001 - the same
    KafkaError._RESOLVE,  # noqa: SLF001 - the same
    KafkaError._TIMED_OUT,  # noqa: SLF001 - the same
    KafkaError._TRANSPORT,  # noqa: SLF001 - the same
    KafkaError._WAIT_COORD,  # noqa: SLF001 - the same
}


class UnreachableError(FlowODMError):
    """No broker answers."""


class NoError(FlowODMError):
    """The answer to what was asked is no."""


def status_of(error: Exception) -> ExitStatus:
    """The exit status that an error comes to."""
    match error:
        case NoError() | SchemaCompatibilityError():
            return ExitStatus.NO
        case ConfigurationError() | SchemaValidationError():
            return ExitStatus.CONFIGURATION
        case UnreachableError() | RegistryUnavailableError() | ConnectionError():
            return ExitStatus.UNREACHABLE
        case _:
            unanswered = _is_unanswered(error)
            return ExitStatus.UNREACHABLE if unanswered else ExitStatus.REFUSED


def _is_unanswered(error: BaseException) -> bool:
    """Whether Kafka's silence is behind it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return True
        if isinstance(cause, KafkaException) and cause.args[0].code() in _UNANSWERED:
            return True
        cause = cause.__cause__
    return False
