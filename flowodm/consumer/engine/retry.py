"""Decide what follows a failure: another attempt, or what is done instead. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from flowodm.events import Stage


class OnFailure(Enum):
    """What becomes of a record that failed for good, with no dead-letter topic or error handler."""

    SKIP = "skip"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Retry:
    """The same record again, after a delay in seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class SendToDeadLetters:
    """A copy goes to the dead-letter topic; then the error handler, if there is one, is called."""


@dataclass(frozen=True, slots=True)
class CallErrorHandler:
    """The error handler decides: its return settles the record."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The record is settled, logged and counted as failed."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The loop ends without settling the record.

    Attributes:
        reason: Why, where the record's own failure does not say it.
    """

    reason: str = ""


Verdict = Retry | SendToDeadLetters | CallErrorHandler | Skip | Stop

REGISTRY_DELAY, REGISTRY_DELAY_MAX = 0.5, 30.0
"""Waits for a registry that does not answer double from the first to the last value, in seconds."""

_MOST_DOUBLINGS = 16
"""More doublings than this overflow nothing, and no delay needs them."""


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How a loop treats failures.

    Attributes:
        max_retries: Further attempts after the first one; 0 means none.
        retry_delay: Seconds before the second attempt.
        on_failure: What happens after the last attempt when nobody takes the record.
        error_handler: Whether the loop has an error handler.
        dead_letters: Whether the loop has a dead-letter topic.
        backoff: Each further delay is this many times the one before.
        max_delay: The longest delay, in seconds.
        jitter: The share of a delay that is left to chance, from 0 to 1: with 0.2 a delay of
            10 s becomes 8 to 10 s. It keeps many members from knocking at the same moment.
        retry_on: Only these errors are tried again; None means all.
        never_retry: These are not, whatever ``retry_on`` says.
    """

    max_retries: int = 0
    retry_delay: float = 1.0
    on_failure: OnFailure = OnFailure.STOP
    error_handler: bool = False
    dead_letters: bool = False
    backoff: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.0
    retry_on: tuple[type[BaseException], ...] | None = None
    never_retry: tuple[type[BaseException], ...] = ()

    def judge(
        self, stage: Stage, failures: int, error: BaseException, chance: float = 0.0
    ) -> Verdict:
        """Decide what follows a failure of one record at one stage.

        A registry that does not answer says nothing about the record, so it is asked again
        without a limit. Bytes that cannot be decoded will not decode the next time either,
        so they are not retried, and neither is a filter. A dead letter that cannot be delivered
        or an error handler that fails leaves nobody to take the record over: going on would
        lose it.

        Args:
            stage: What failed.
            failures: How often this record has failed in a row, this time included.
            error: What it failed with.
            chance: A random number from 0 to 1.
        """
        match stage:
            case Stage.REGISTRY:
                doublings = min(failures - 1, _MOST_DOUBLINGS)
                return Retry(min(REGISTRY_DELAY * 2**doublings, REGISTRY_DELAY_MAX))
            case Stage.ERROR_HANDLER | Stage.DEAD_LETTER:
                return Stop()
            case Stage.HANDLER if failures <= self.max_retries and self._may_pass(error):
                return Retry(self._delay(failures) * (1 - self.jitter * chance))
            case Stage.HANDLER | Stage.DESERIALIZE | Stage.FILTER:
                if self.dead_letters:
                    return SendToDeadLetters()
                return self.without_dead_letters()

    def without_dead_letters(self) -> Verdict:
        """Decide what follows the last attempt where no dead letter can be sent."""
        if self.error_handler:
            return CallErrorHandler()
        return Skip() if self.on_failure is OnFailure.SKIP else Stop()

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, self.never_retry):
            return False
        return self.retry_on is None or isinstance(error, self.retry_on)

    def _delay(self, failures: int) -> float:
        if not self.retry_delay:
            return 0.0
        # A power of a large factor overflows a float long before anybody has waited for it.
        try:
            delay = self.retry_delay * self.backoff ** (failures - 1)
        except OverflowError:
            return self.max_delay
        return min(delay, max(self.max_delay, self.retry_delay))
