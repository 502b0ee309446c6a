"""An error that the client cannot mend ends run() with it, not with a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaError

from flowodm import ConsumerError, FencedError
from flowodm.consumer.kafka import poller
from flowodm.events import LoopState, Trouble
from support.loops import BOTH, KINDS, PATIENCE, Gate, brisk
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.loops import Bench


@pytest.fixture(scope="module")
def kafka(brisk_kafka: str) -> str:
    return brisk_kafka


def member(protocol: str) -> Any:
    return brisk(extra_config={"group.protocol": protocol})


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_whose_place_is_taken_ends_with_a_fenced_error_and_commits_nothing_more(
    new_bench, kind
):
    """A classic group lets the newcomer with the same group.instance.id in (KIP-345)."""
    bench, done = new_bench(), []
    bench.produce(range(10))
    options = {"group_instance_id": "the only one", "settings": member("classic")}
    with Gate() as gate:

        def handle(message: Any) -> None:
            gate.wait()
            done.append(message.n)

        old = bench.run(kind, handle, ordering="partition", drain_timeout=2.0, **options)
        with old:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler runs")
            handled: list[int] = []
            new = bench.run("sync", lambda m: handled.append(m.n), **options)
            with new:
                wait_until(lambda: bench.committed() == {0: 10}, PATIENCE, "the new one works")
                draining = LoopState.DRAINING
                wait_until(lambda: old.status().state is draining, 10, "the old one knows")
                gate.open()
                with pytest.raises(FencedError):
                    old.end(20)
                new.stop()

    assert handled == list(range(10)), "the first one had committed nothing"
    assert old.status().state is LoopState.STOPPED
    assert len(done) <= 1, "the fenced one starts nothing more"
    assert bench.committed() == {0: 10}


@pytest.mark.parametrize("kind", BOTH)
def test_a_newcomer_whose_place_is_held_ends_with_a_fenced_error(new_bench, kind):
    """A KIP-848 group refuses it; that error is fatal by its code alone."""
    bench, handled = new_bench(), []
    bench.produce(range(10))
    options = {"group_instance_id": "the only one", "settings": member("consumer")}
    with bench.run(kind, lambda m: handled.append(m.n), **options) as first:
        first.joined(1)
        newcomer = bench.run(kind, lambda _: None, **options)
        with newcomer, pytest.raises(FencedError, match="instance ID"):
            newcomer.end(20)
        bench.produce(range(10, 20))
        wait_until(lambda: len(handled) == 20, PATIENCE, "the first one goes on")
        first.stop()

    assert newcomer.events.rebalances() == []
    assert bench.committed() == {0: 20}


class Failing(Consumer):
    """Reports an error of the client once it has delivered some records."""

    error: KafkaError
    after: int

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._tell = config["error_cb"]
        self._polls = 0

    def poll(self, timeout: float = -1) -> Any:
        message = super().poll(timeout)
        self._polls += message is not None
        if self._polls == self.after:
            self._polls += 1
            self._tell(self.error)
        return message


def failing(monkeypatch: pytest.MonkeyPatch, error: KafkaError) -> None:
    monkeypatch.setattr(Failing, "error", error, raising=False)
    monkeypatch.setattr(Failing, "after", 1, raising=False)
    monkeypatch.setattr(poller, "Consumer", Failing)


def run_with_records(bench: Bench, kind: str, seen: list[int]) -> Any:
    bench.produce(range(100))
    return bench.run(kind, lambda m: seen.append(m.n), ordering="partition")


@pytest.mark.parametrize("kind", BOTH)
def test_a_fatal_error_ends_the_loop_with_what_is_handled_committed(new_bench, monkeypatch, kind):
    bench, seen = new_bench(), []
    failing(monkeypatch, KafkaError(KafkaError._INVALID_ARG, "cannot go on", fatal=True))

    running = run_with_records(bench, kind, seen)
    with running, pytest.raises(ConsumerError, match="cannot go on"):
        running.end(20)

    assert running.status().state is LoopState.STOPPED
    assert seen == list(range(len(seen)))
    assert bench.committed().get(0, 0) == len(seen)


@pytest.mark.parametrize("kind", BOTH)
def test_an_error_that_the_client_mends_is_told_and_the_loop_goes_on(new_bench, monkeypatch, kind):
    bench, seen = new_bench(), []
    failing(monkeypatch, KafkaError(KafkaError._TRANSPORT, "connection lost"))

    with run_with_records(bench, kind, seen) as running:
        wait_until(lambda: len(seen) == 100, PATIENCE, "all is handled")
        running.stop()

    told = [(event.code, event.message) for event in running.events.of(Trouble)]
    assert told == [("_TRANSPORT", "connection lost")]
    assert bench.committed() == {0: 100}
