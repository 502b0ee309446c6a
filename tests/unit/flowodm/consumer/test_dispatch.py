"""Observers are told everything, and none of them can harm the loop or fill its log."""

from __future__ import annotations

import logging

import pytest

from flowodm.consumer import dispatch as module
from flowodm.consumer.dispatch import Dispatch
from flowodm.consumer.engine.offsets import Position
from flowodm.consumer.engine.rules import Rules
from flowodm.events import Ended, EndReason, LoopState, StateChanged
from support.engines import SteppedEngine as Engine

EVENT = StateChanged(LoopState.RUNNING)


def told(*observers) -> Dispatch:
    return Dispatch(Engine(Rules()), observers)


def broken(event) -> None:
    raise RuntimeError("the observer is broken")


def leaving(event) -> None:
    raise SystemExit(1)


@pytest.mark.parametrize("bad", [broken, leaving])
def test_an_observer_that_raises_keeps_nothing_from_the_others(bad):
    seen = []

    told(bad, seen.append, bad).tell(EVENT)

    assert seen == [EVENT]


def test_an_observer_that_always_raises_is_logged_once_and_counted(caplog):
    dispatch = told(broken)
    for _ in range(1_000):
        dispatch.tell(EVENT)
    dispatch.tell(Ended(EndReason.STOP))

    first, last = caplog.records
    assert first.levelno == last.levelno == logging.ERROR
    assert first.exc_info[0] is RuntimeError
    assert "failed on StateChanged, and 0 times" in first.getMessage()
    assert "failed on Ended, and 999 times" in last.getMessage()


def test_an_observer_that_goes_on_raising_is_logged_again_after_a_while(caplog, monkeypatch):
    monkeypatch.setattr(module, "COMPLAIN_EVERY", 0.0)
    dispatch = told(broken)
    for _ in range(3):
        dispatch.tell(EVENT)

    assert len(caplog.records) == 3


def test_each_observer_that_raises_is_named(caplog):
    dispatch = told(broken, leaving)
    dispatch.tell(EVENT)
    dispatch.tell(EVENT)

    assert [("broken" in r.getMessage(), "leaving" in r.getMessage()) for r in caplog.records] == [
        (True, False),
        (False, True),
    ]


def test_once_nobody_polls_any_more_every_idle_partition_stands_still(monkeypatch):
    dispatch = told()
    with dispatch as engine:
        engine.assigned([("orders", 0)], {("orders", 0): Position(7)})
    dispatch.record_stalled({})
    assert dispatch.status().behind == ()
    monkeypatch.setattr(module, "POLLER_AWAY", -1.0)
    assert dispatch.status().behind == ((("orders", 0), 7),)
