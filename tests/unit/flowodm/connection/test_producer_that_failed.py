"""After a fatal error of the producer, the next message goes to a new producer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError

from flowodm.connection import connect, get_kafka_connection
from support.waiting import wait_until

FATAL = KafkaError(KafkaError._FATAL, "sequence numbers lost", True)
PASSING = KafkaError(KafkaError._ALL_BROKERS_DOWN)


class Producer:
    """Remembers its configuration and who polls it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.under_way = 1
        self.polled_by: set[str] = set()

    def __len__(self) -> int:
        return self.under_way

    def poll(self, _timeout: float) -> None:
        self.polled_by.add(threading.current_thread().name)

    def flush(self, _timeout: float) -> int:
        return 0


class Kafka:
    registry_config = None

    def consumer(self, config: dict[str, Any]) -> None:
        raise AssertionError

    def producer(self, config: dict[str, Any]) -> Producer:
        return Producer(config)


def pollers() -> int:
    return sum(thread.name == "flowodm-producer" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def in_kafkas_place():
    with get_kafka_connection().replaced_by(Kafka()):
        yield


def test_a_producer_that_failed_for_good_is_replaced_and_polled_until_all_is_answered(caplog):
    first = get_kafka_connection().producer
    assert pollers() == 1
    first.config["error_cb"](FATAL)
    second = get_kafka_connection().producer
    assert second is not first
    assert get_kafka_connection().producer is second
    assert pollers() == 2
    assert "failed fatally" in caplog.text
    first.under_way = 0
    wait_until(lambda: pollers() == 1, 10, "nobody polls the first one")


async def test_coroutines_get_the_new_one_too():
    connection = get_kafka_connection()
    before = await connection.get_async_producer()
    connection.producer.config["error_cb"](FATAL)
    after = await connection.get_async_producer()
    assert after is not before
    assert after._producer is connection.producer


def test_an_error_that_passes_changes_nothing_and_is_logged(caplog):
    first = get_kafka_connection().producer
    first.config["error_cb"](PASSING)
    assert get_kafka_connection().producer is first
    assert "broker connections are down" in caplog.text


def test_the_programs_own_error_callback_is_called():
    errors: list[KafkaError] = []
    connect(producer_config={"error_cb": errors.append})
    get_kafka_connection().producer.config["error_cb"](FATAL)
    assert errors == [FATAL]


@pytest.mark.parametrize(("level", "lines"), [(2, 0), ("3", 1)])
def test_the_log_level_of_librdkafka_holds_for_its_errors(caplog, level, lines):
    connect(producer_config={"log_level": level})
    get_kafka_connection().producer.config["error_cb"](PASSING)
    assert caplog.text.count("broker connections are down") == lines
