"""Dead members are evicted unless a successor inherits; a start waits at most 2 s for it."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time

import pytest

from supervisor.worker import eviction
from supervisor.worker.eviction import evict_dead
from support.waiting import wait_until

SERVERS = {"bootstrap.servers": "one:9092,two:9092"}


def consumer(**more):
    return {**SERVERS, "group.id": "orders", "client.id": "shop", **more}


@pytest.fixture
def never_asked(monkeypatch):
    def remove(*_):
        pytest.fail("nobody was to be evicted")

    monkeypatch.setattr(eviction, "_remove", remove)


@pytest.mark.usefixtures("never_asked")
def test_a_static_member_of_a_classic_group_is_inherited_not_evicted():
    assert evict_dead(consumer(**{"group.instance.id": "a-orders-0"}), ["member"])


@pytest.mark.usefixtures("never_asked")
def test_with_nobody_dead_nobody_is_asked():
    assert evict_dead(consumer(), [])


@pytest.mark.parametrize(
    ("more", "successor", "instance"),
    [
        ({}, True, None),
        ({"group.protocol": "consumer"}, True, None),
        ({"group.protocol": "consumer", "group.instance.id": "i"}, True, "i"),
        ({"group.instance.id": "i"}, False, "i"),
    ],
)
def test_everybody_else_is_evicted_by_all_the_ids_it_has(monkeypatch, more, successor, instance):
    asked = []
    monkeypatch.setattr(
        eviction, "_remove", lambda _, m, ids: asked.append((m.group, m.instance_id, ids)) or ""
    )

    assert evict_dead(consumer(**more), ["member"], successor=successor)

    assert asked == [("orders", instance, ["member"])]


def warnings_in(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_a_refusal_is_said_with_what_follows_from_it(monkeypatch, caplog):
    monkeypatch.setattr(eviction, "_remove", lambda *_: "GroupAuthorizationFailedError")

    assert not evict_dead(consumer(**{"session.timeout.ms": 300_000}), ["member"])

    [line] = warnings_in(caplog)
    assert "GroupAuthorizationFailedError" in line
    assert "until session.timeout.ms (300 s) has passed" in line


def test_a_configuration_that_cannot_be_translated_is_said_and_costs_no_time(caplog):
    secure = {"security.protocol": "ssl", "ssl.ca.pem": "-----BEGIN"}

    assert not evict_dead(consumer(**secure), ["member"])

    [line] = warnings_in(caplog)
    assert "ssl.ca.pem" in line
    assert "-----BEGIN" not in line


# kafka-python leaves a socket whose handshake has not ended to the collector.
@pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("listens", [False, True], ids=["refused connection", "no answer"])
def test_brokers_that_do_not_answer_hold_up_a_start_for_two_seconds_at_most(caplog, listens):
    threads = set(threading.enumerate())
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))
        if listens:
            broker.listen()
        address = "{}:{}".format(*broker.getsockname())
        began = time.monotonic()

        assert not evict_dead({"bootstrap.servers": address, "group.id": "orders"}, ["member"])

        assert time.monotonic() - began < eviction.TIMEOUT + 1
        wait_until(lambda: set(threading.enumerate()) <= threads, 5, "nothing is left behind")
        gc.collect()
    assert len(warnings_in(caplog)) == 1
