"""The switch that stops a loop keeps the first reason, and gets more urgent."""

from __future__ import annotations

from flowodm.consumer.stop import StopSwitch
from flowodm.events import EndReason


def test_nothing_is_asked_for_before_the_switch_is_pressed():
    switch = StopSwitch(drain_timeout=30.0)

    assert not switch.pressed
    assert switch.pressed_for == 0
    assert switch.deadline == float("inf")


def test_the_first_reason_is_kept():
    switch = StopSwitch(drain_timeout=30.0)

    switch.press(reason=EndReason.SIGNAL)
    switch.press(reason=EndReason.ERROR)

    assert switch.reason is EndReason.SIGNAL


def test_a_later_urgent_request_moves_the_deadline_but_not_the_reason():
    switch = StopSwitch(drain_timeout=30.0)

    switch.press()
    relaxed = switch.deadline
    switch.press(now=True, reason=EndReason.SIGNAL)

    assert switch.deadline < relaxed
    assert switch.urgent
    assert switch.reason is EndReason.STOP


def test_an_urgent_request_never_gives_more_time():
    switch = StopSwitch(drain_timeout=0.0)

    switch.press()
    deadline = switch.deadline
    switch.press(now=True)
    switch.press(now=True)

    assert switch.deadline == deadline


def test_a_later_relaxed_request_moves_nothing():
    switch = StopSwitch(drain_timeout=30.0)

    switch.press(now=True)
    deadline = switch.deadline
    switch.press()

    assert switch.deadline == deadline
