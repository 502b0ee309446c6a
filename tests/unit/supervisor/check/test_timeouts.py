"""A chain of time-outs that is broken is warned of, with the way out."""

from __future__ import annotations

import pytest

from supervisor.check.timeouts import consumer_warnings, fleet_warnings, stop_seconds
from supervisor.config.config import SupervisorConfig
from supervisor.config.values import seconds


def config(supervisor=None, **orders):
    table = {"model": "a:B", "handler": "a:b", **orders}
    return SupervisorConfig.model_validate(
        {"supervisor": supervisor or {}, "consumers": {"orders": table}}
    )


def test_the_defaults_are_no_reason_for_a_warning():
    made = config()
    assert list(fleet_warnings(made)) == []
    assert list(consumer_warnings(made, "orders", {})) == []
    long_running = {
        "session.timeout.ms": "300000",
        "heartbeat.interval.ms": "3000",
        "max.poll.interval.ms": "600000",
    }
    assert list(consumer_warnings(made, "orders", long_running)) == []


@pytest.mark.parametrize(
    ("orders", "properties", "key", "words"),
    [
        (
            {"attempt_timeout": "30s"},
            {},
            "consumers.orders.attempt_timeout",
            (
                "30s is not below drain_timeout (30s): a stop may end a handler that is still "
                'allowed to run; write [consumers.orders] drain_timeout = "35s"'
            ),
        ),
        (
            {"attempt_timeout": "10s", "drain_timeout": "11s"},
            {"max.poll.interval.ms": "10000"},
            "consumers.orders.attempt_timeout",
            'write "max.poll.interval.ms" = 15000 in [consumers.orders.kafka.options]',
        ),
        (
            {"handler_timeout": "1m"},
            {},
            "consumers.orders.handler_timeout",
            'to run; write [consumers.orders] drain_timeout = "65s", or a shorter handler_timeout',
        ),
        (
            {"attempt_timeout": "10s", "handler_timeout": "10s"},
            {},
            "consumers.orders.handler_timeout",
            "10s is not above attempt_timeout (10s): the worker is replaced before the attempt",
        ),
        (
            {"drain_timeout": "10m"},
            {},
            "consumers.orders.drain_timeout",
            (
                "600s is longer than max.poll.interval.ms (300s): a handler that takes longer than "
                'that loses its partitions before the drain is over; write drain_timeout = "300s"'
            ),
        ),
        (
            {},
            {"session.timeout.ms": "8000"},
            'consumers.orders.kafka.options."heartbeat.interval.ms"',
            (
                "3s is more than a third of session.timeout.ms (8s): the worker is removed from "
                "its group when one or two heartbeats are lost; write 2667 at most"
            ),
        ),
        (
            {"restart": {"initial": "1m", "cap": "2m"}},
            {},
            "consumers.orders.restart.initial",
            "60s is longer than session.timeout.ms (45s): partitions move before the worker is",
        ),
    ],
)
def test_each_broken_link_is_named_with_what_to_write_instead(orders, properties, key, words):
    warnings = [
        w for w in consumer_warnings(config(**orders), "orders", properties) if w.key == key
    ]
    assert words in "".join(map(str, warnings))


@pytest.mark.parametrize(
    ("orders", "properties"),
    [
        ({"partition_groups": [[0]]}, {"session.timeout.ms": "8000"}),
        ({}, {"session.timeout.ms": "8000", "group.protocol": "consumer"}),
        ({"membership": "dynamic", "restart": {"initial": "1m", "cap": "2m"}}, {}),
    ],
)
def test_sessions_of_those_who_have_none_are_not_looked_at(orders, properties):
    assert list(consumer_warnings(config(**orders), "orders", properties)) == []


def test_a_kill_delay_without_room_for_a_commit_is_warned_of():
    (warning,) = fleet_warnings(config({"kill_delay": "100ms"}))
    assert str(warning).startswith("supervisor.kill_delay: 100ms is too short")


def test_a_stop_takes_drain_and_kill_and_what_the_kernel_gets():
    assert stop_seconds(config()) == 30 + 5 + 10
    assert stop_seconds(config({"kill_delay": 1}, drain_timeout="1m")) == 60 + 1 + 10


def test_seconds_are_written_as_the_file_has_them():
    assert [seconds(length) for length in (0, 0.25, 1, 90.5)] == ["0s", "250ms", "1s", "90.5s"]
