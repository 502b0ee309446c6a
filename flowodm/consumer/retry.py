"""What follows a failure: another attempt and when, or what is done instead. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from flowodm.events import Stage


class OnFailure(Enum):
    """What becomes of a record that failed for good and has no error handler."""

    SKIP = "skip"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Retry:
    """The same record again, after a delay in seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class CallErrorHandler:
    """The error handler decides: its return settles the record."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The record is settled, logged and counted as failed."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The loop ends without settling the record."""


Verdict = Retry | CallErrorHandler | Skip | Stop

#: Waits for a registry that does not answer double from the first to the last value, in seconds.
REGISTRY_DELAY, REGISTRY_DELAY_MAX = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How a loop treats failures.

    Attributes:
        max_retries: Further attempts after the first one; 0 means none.
        retry_delay: Seconds between two attempts.
        on_failure: What happens after the last attempt when there is no error handler.
        error_handler: Whether the loop has an error handler.
    """

    max_retries: int = 0
    retry_delay: float = 1.0
    on_failure: OnFailure = OnFailure.STOP
    error_handler: bool = False

    def judge(self, stage: Stage, failures: int) -> Verdict:
        """What follows the given number of failures in a row of one record at one stage.

        A registry that does not answer says nothing about the record, so it is asked again
        without a limit. Bytes that cannot be decoded will not decode the next time either,
        so they are not retried. An error handler that fails leaves nobody to take the record
        over: going on would lose it.
        """
        match stage:
            case Stage.REGISTRY:
                doublings = min(failures - 1, 16)
                return Retry(min(REGISTRY_DELAY * 2**doublings, REGISTRY_DELAY_MAX))
            case Stage.ERROR_HANDLER:
                return Stop()
            case Stage.HANDLER if failures <= self.max_retries:
                return Retry(self.retry_delay)
            case Stage.HANDLER | Stage.DESERIALIZE:
                if self.error_handler:
                    return CallErrorHandler()
                return Skip() if self.on_failure is OnFailure.SKIP else Stop()
