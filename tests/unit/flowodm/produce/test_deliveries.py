"""The broker's answers to messages, and who receives them."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from flowodm.exceptions import ProducerError, SerializationError
from flowodm.produce import deliveries as produce
from flowodm.produce.deliveries import Deliveries, UnawaitedDeliveries, raise_failures

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


class Unpolled:
    """A producer that answers when it is polled."""

    def __init__(self) -> None:
        self.reports = []

    def poll(self, _timeout):
        for report in self.reports:
            report(None, None)
        self.reports.clear()


@pytest.fixture
def polled(monkeypatch):
    """A producer that somebody else polls."""
    producer = object()
    monkeypatch.setattr(
        type(produce.get_kafka_connection()), "polls", lambda _self, one: one is producer
    )
    return producer


def test_waiting_ends_when_each_message_is_answered(polled):
    deliveries = Deliveries()
    reports = [deliveries.expect(index, "orders", polled) for index in range(3)]
    threading.Timer(0.05, lambda: [report.report(None, None) for report in reports]).start()
    deliveries.wait(time.monotonic() + 30)
    assert deliveries.failures == {}


def test_a_refusal_is_kept_with_its_place_and_code(polled):
    deliveries = Deliveries()
    reports = [deliveries.expect(index, "orders", polled) for index in range(2)]
    reports[1].report(TOO_LARGE, None)
    reports[0].report(None, None)
    deliveries.wait(time.monotonic() + 30)
    ((index, error),) = deliveries.failures.items()
    assert index == 1
    assert isinstance(error.__cause__, KafkaException)


def test_an_answer_after_the_deadline_changes_nothing(polled):
    deliveries = Deliveries()
    report = deliveries.expect(0, "orders", polled)
    deliveries.wait(time.monotonic())
    report.report(TOO_LARGE, None)
    assert "may still be delivered" in str(deliveries.failures[0])


def test_producers_that_nobody_polls_are_polled(polled):
    deliveries, producer = Deliveries(), Unpolled()
    deliveries.expect(0, "orders", polled).report(None, None)
    producer.reports.append(deliveries.expect(1, "orders", producer).report)
    deliveries.wait(time.monotonic() + 30)
    assert deliveries.failures == {}


def test_failures_are_raised_in_order_with_the_first_as_the_cause():
    first, second = SerializationError("one"), ProducerError("two")
    with pytest.raises(ProducerError, match=r"2 of 9 messages failed.*at index 3: one") as caught:
        raise_failures({7: second, 3: first}, 9)
    assert caught.value.failures == ((3, first), (7, second))
    assert caught.value.__cause__ is first


def test_the_log_tells_of_a_flood_of_losses_once_a_second(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(produce.time, "monotonic", lambda: now[0])
    unawaited = UnawaitedDeliveries("orders")
    unawaited.report(None, None)
    for _ in range(10):
        unawaited.report(TOO_LARGE, None)
    now[0] += 1.0
    unawaited.report(TOO_LARGE, None)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert (
        "topic orders: a message that no caller waits for was not delivered (1 so far)" in texts[0]
    )
    assert "(11 so far)" in texts[1]
