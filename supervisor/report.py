"""The drain report of a run, and the command's exit statuses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.fleet.outcomes import SlotOutcome


class ExitStatus(IntEnum):
    """The exit statuses of the command `flowodm-supervisor`."""

    CLEAN = 0
    """Every worker finished what it had begun and exited by itself."""
    USAGE = 2
    """The command line is wrong."""
    UNCLEAN = 3
    """During the stop a worker was killed, crashed, or left handlers unfinished."""
    FAILED = 4
    """A consumer, or one of its workers, failed for good."""
    REFUSED = 5
    """The running supervisor refused the request, and changed nothing."""
    UNREACHABLE = 69
    """No supervisor answers at the control socket (EX_UNAVAILABLE)."""
    UNAVAILABLE = 71
    """The system refused something at the start, for example a port in use (EX_OSERR)."""
    CONFIGURATION = 78
    """The configuration is not valid; nothing was started (EX_CONFIG)."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The drain report.

    Attributes:
        workers: How the last worker of each slot ended, in the configuration's order.
        seconds: From the first request to stop until the end; 0 if there was none.
    """

    workers: tuple[SlotOutcome, ...]
    seconds: float

    @property
    def status(self) -> ExitStatus:
        """The exit status: a failure counts more than an unclean end."""
        if any(worker.failed for worker in self.workers):
            return ExitStatus.FAILED
        if not all(worker.clean for worker in self.workers):
            return ExitStatus.UNCLEAN
        return ExitStatus.CLEAN
