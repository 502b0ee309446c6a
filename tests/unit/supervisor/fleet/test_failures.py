"""A bounded list, whatever a worker says."""

from __future__ import annotations

from types import SimpleNamespace

from supervisor.failures import KEPT, MESSAGE_LENGTH, Failures
from supervisor.instrumentation import status
from supervisor.slot.restart import ExitClass


def member(complaint, slot=0):
    return SimpleNamespace(consumer="orders", index=slot, pid=4711, complaint=complaint)


def test_the_latest_are_kept_and_shown_first():
    failures = Failures()
    for number in range(KEPT + 10):
        failures.add(member("no database", number), ExitClass.CRASH, float(number), "none")
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
    failures = Failures()
    failures.add(member("x" * 10**6), ExitClass.CRASH, 0.0, "none")
    (end,) = failures.latest
    assert len(end.message) == MESSAGE_LENGTH
    assert end.message.endswith("…")
