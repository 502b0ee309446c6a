"""Exit statuses are described in words; the log of failures is bounded."""

from __future__ import annotations

import pytest

from supervisor.fleet.outcomes import (
    KEPT,
    MESSAGE_LENGTH,
    FailureLog,
    WorkerFailure,
    describe_exit,
)
from supervisor.instrumentation import status
from supervisor.slot.restart import ExitClass


def failure(message, slot=0, at=0.0):
    return WorkerFailure(
        "orders",
        slot=slot,
        pid=4711,
        reason=ExitClass.CRASH,
        message=message,
        at=at,
        consequence="none",
    )


def test_the_latest_are_kept_and_shown_first():
    failures = FailureLog()
    for number in range(KEPT + 10):
        failures.add(failure("no database", number, float(number)))
    shown = status.failures(failures.latest)
    assert len(shown) == KEPT
    assert shown[0] == {
        "consumer": "orders",
        "slot": KEPT + 9,
        "pid": 4711,
        "reason": "crash",
        "message": "no database",
        "at": KEPT + 9.0,
        "consequence": "none",
    }


def test_a_long_message_is_cut():
    failures = FailureLog()
    failures.add(failure("x" * 10**6))
    (end,) = failures.latest
    assert len(end.message) == MESSAGE_LENGTH
    assert end.message.endswith("…")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "its exit status is unknown"),
        (0, "exit code 0 (done)"),
        (3, "exit code 3"),
        (78, "exit code 78 (configuration)"),
        (-9, "ended by SIGKILL, which this supervisor did not send"),
        (-11, "ended by SIGSEGV"),
        (-64, "ended by SIGRTMAX"),
        (-100, "ended by signal 100"),
    ],
)
def test_an_exit_status_is_described_in_words(code, words):
    assert words in describe_exit(code)


def test_our_own_sigkill_is_not_blamed_on_the_kernel():
    assert describe_exit(-9, killed=True) == "killed by the supervisor"
