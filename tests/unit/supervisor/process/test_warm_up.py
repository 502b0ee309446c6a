"""A warm-up is over with the first event of the child, or after a time limit."""

from __future__ import annotations

import pytest

from supervisor.process import warm_up
from supervisor.process.warm_up import WarmUp
from supervisor.slot.events import Exited, Spawned, SpawnFailed


class NoProcess:
    def __init__(self, *_):
        self.abandoned = False

    def abandon(self):
        self.abandoned = True


@pytest.fixture
def begun(monkeypatch):
    monkeypatch.setattr(warm_up, "WorkerProcess", NoProcess)
    made = WarmUp(None)
    assert made.under_way
    return made


@pytest.mark.parametrize(
    "heard",
    [
        lambda child: child.handle(Spawned(5)),
        lambda child: child.handle(Exited(0)),
        lambda child: child.handle(SpawnFailed("no memory")),
        lambda child: child.abandon(),
    ],
    ids=["it_has_begun", "it_is_over_already", "there_is_none", "nobody_waits"],
)
def test_nobody_waits_any_more(begun, heard):
    heard(begun)

    assert not begun.under_way


def test_it_is_waited_for_with_a_bound(begun, monkeypatch):
    monkeypatch.setattr(warm_up.time, "monotonic", lambda: begun._until)

    assert not begun.under_way
