"""The result of the latest reload is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from supervisor.changes.changes import Change, ChangeRefusedError
from supervisor.changes.requests import Requests
from supervisor.fleet.fold import Fold
from supervisor.instrumentation import status
from supervisor.instrumentation.exposition import Exposition

NEW = object()


def refuse(*_):
    raise ChangeRefusedError("it cannot be")


def accept(*_):
    return Change()


@pytest.fixture
def requests():
    """Requests whose main loop is the test; `changes.reload` decides how a reload ends."""
    changes = SimpleNamespace(reload=refuse, restart=refuse)
    posted = []
    made = Requests(changes, None, posted.append)
    return SimpleNamespace(made=made, changes=changes, posted=posted)


def carry_out(requests):
    requests.made.carry_out(requests.posted.pop())


def last_reload_samples(requests):
    exposition = Exposition(Fold(), tuple, last_reload=lambda: requests.made.last_reload)
    names = "successful", "success_timestamp_seconds"
    values = {sample.name: sample.value for f in exposition.collect() for sample in f.samples}
    return [values[f"flowodm_config_last_reload_{name}"] for name in names]


def test_the_start_counts_as_a_reload_that_succeeded(requests):
    successful, at = last_reload_samples(requests)
    assert successful == 1
    assert at > 1e9


def test_a_refused_reload_is_told_until_one_is_accepted(requests):
    _, at_start = last_reload_samples(requests)
    answer = requests.made.reload(NEW)
    carry_out(requests)
    assert isinstance(answer.exception(0), ChangeRefusedError)
    assert last_reload_samples(requests) == [0, at_start]
    shown = status.reload(requests.made.last_reload)
    assert (shown["successful"], shown["error"]) == (False, "it cannot be")
    assert shown["at"] >= round(at_start, 3)
    requests.changes.reload = accept
    requests.made.reload(NEW)
    carry_out(requests)
    assert status.reload(requests.made.last_reload)["error"] is None
    successful, at = last_reload_samples(requests)
    assert successful == 1
    assert at >= at_start


def test_a_reload_without_a_file_is_refused_at_once(requests):
    assert isinstance(requests.made.reload(None).exception(0), ChangeRefusedError)
    assert last_reload_samples(requests)[0] == 0


def test_a_refused_restart_is_no_refused_reload(requests):
    requests.made.restart(None, None)
    carry_out(requests)
    assert last_reload_samples(requests)[0] == 1
