"""A commit is asynchronous, and what the broker answers is looked at all the same."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError

from flowodm.consumer.kafka import poller
from support.loops import BOTH, PATIENCE
from support.waiting import wait_until

RECORDS = 50
REFUSALS = 3


class Refused(Consumer):
    """Its first commits are answered with an error that another attempt mends."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._answer = config["on_commit"]
        self._left = REFUSALS
        self._unanswered: list[Any] = []

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        if not self._left:
            return super().commit(*args, **kwargs)
        self._left -= 1
        self._unanswered.append(kwargs["offsets"])
        return None

    def poll(self, timeout: float = -1) -> Any:
        unanswered, self._unanswered = self._unanswered, []
        for offsets in unanswered:
            self._answer(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), offsets)
        return super().poll(timeout)


@pytest.mark.parametrize("kind", BOTH)
def test_a_refused_commit_is_told_and_sent_again_at_least_once(
    new_bench, monkeypatch, caplog, kind
):
    bench, seen = new_bench(), []
    bench.produce(range(RECORDS))
    monkeypatch.setattr(poller, "Consumer", Refused)
    with bench.run(kind, lambda m: seen.append(m.n), commit_interval=0.05) as running:
        wait_until(lambda: bench.committed() == {0: RECORDS}, PATIENCE, "it is committed after all")
        running.stop()

    assert sorted(seen) == list(range(RECORDS))
    assert len(running.events.commit_errors()) == REFUSALS
    assert "commit failed" in caplog.text


@pytest.mark.parametrize("kind", BOTH)
def test_at_most_once_no_handler_starts_behind_a_refused_commit(new_bench, monkeypatch, kind):
    bench, early, seen = new_bench(), [], []
    bench.produce(range(RECORDS))
    monkeypatch.setattr(poller, "Consumer", Refused)

    def handle(message: Any) -> None:
        if len(running.events.commit_errors()) < REFUSALS:
            early.append(message.n)
        seen.append(message.n)

    running = bench.run(kind, handle, commit_strategy="before_processing")
    with running:
        wait_until(lambda: len(seen) == RECORDS, PATIENCE, "all is handled")
        running.stop()

    assert early == []
    assert sorted(seen) == list(range(RECORDS))
    assert bench.committed() == {0: RECORDS}
