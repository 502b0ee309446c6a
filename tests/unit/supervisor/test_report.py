"""The exit status of the command follows from the outcomes of all slots."""

from __future__ import annotations

import pytest

from supervisor.fleet.outcomes import SlotOutcome
from supervisor.report import ExitStatus, RunReport
from supervisor.slot.restart import ExitClass


def outcome(**values):
    defaults = {
        "consumer": "orders",
        "slot": 0,
        "pid": 1,
        "reason": ExitClass.DONE,
        "seconds": 0.1,
        "left": 0,
        "killed": False,
        "failed": False,
    }
    return SlotOutcome(**{**defaults, **values})


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        ([outcome()], ExitStatus.CLEAN),
        ([outcome(), outcome(killed=True)], ExitStatus.UNCLEAN),
        ([outcome(reason=ExitClass.CRASH)], ExitStatus.UNCLEAN),
        ([outcome(reason=ExitClass.ABANDONED)], ExitStatus.UNCLEAN),
        ([outcome(killed=True), outcome(failed=True)], ExitStatus.FAILED),
    ],
)
def test_the_exit_status_is_zero_only_if_nothing_was_killed_or_failed(workers, expected):
    assert RunReport(tuple(workers), 0.1).status is expected
