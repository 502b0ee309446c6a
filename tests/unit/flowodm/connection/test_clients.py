"""Closing the connection closes all of its consumers, within a time-out."""

from __future__ import annotations

import threading

import pytest

from flowodm.connection import connect, get_consumer, get_kafka_connection
from flowodm.connection.clients import close_consumers

PATIENCE = 10.0


class Leaving:
    def __init__(self, answer: threading.Event) -> None:
        self.closed = False
        self._answer = answer

    def close(self) -> None:
        assert self._answer.wait(PATIENCE)
        self.closed = True


def test_a_consumer_that_cannot_leave_is_given_up_in_time_and_holds_up_no_other(
    monkeypatch, caplog
):
    monkeypatch.setattr("flowodm.connection.clients.CLOSE_TIMEOUT", 0.2)
    never, now = threading.Event(), threading.Event()
    now.set()
    stuck, quick = Leaving(never), Leaving(now)
    try:
        close_consumers([stuck, quick])
        assert (stuck.closed, quick.closed) == (False, True)
        assert "did not close within 0.2 s" in caplog.text
    finally:
        never.set()


def test_a_closed_one_is_not_closed_again():
    closed = Leaving(threading.Event())
    closed.closed = True
    close_consumers([closed])


@pytest.fixture
def nowhere() -> None:
    connect(bootstrap_servers="127.0.0.1:1", consumer_config={"log_level": 0})


def test_a_consumer_is_lent_to_one_user_who_has_it_alone(nowhere):
    connection, first = get_kafka_connection(), get_consumer("g", ["t"])
    assert connection.lend(first) is True
    assert connection.lend(first) is None
    second = get_consumer("g", ["t"])
    assert second is not first
    assert connection.lend(second) is True
    assert connection.lend(object()) is False


def test_a_lent_consumer_is_closed_with_the_connection(nowhere):
    connection, lent = get_kafka_connection(), get_consumer("g", ["t"])
    connection.lend(lent)
    connection.close_connection()
    assert lent.closed is True
