"""The chain of time-outs: handler < drain < kill < service manager; session and poll. Pure.

What breaks the chain is no mistake of the file, as the numbers may be meant. But something then
ends earlier than its neighbour expects, so `check` warns, and says what to write instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.config.problems import Problem
from supervisor.config.values import seconds
from supervisor.slot.machine import SlotPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supervisor.config.config import SupervisorConfig
    from supervisor.config.consumer import ConsumerTable

SESSION = "session.timeout.ms"
HEARTBEAT = "heartbeat.interval.ms"
POLL = "max.poll.interval.ms"
_LIBRDKAFKAS = {SESSION: 45_000.0, HEARTBEAT: 3_000.0, POLL: 300_000.0}
"""librdkafka's own values, in milliseconds, by its CONFIGURATION.md."""
_MARGIN = 5.0
"""Seconds that are proposed between one time-out and the next."""
SHORTEST_KILL = 1.0
"""Seconds of kill_delay below which a busy worker cannot commit and leave its group in time."""
BEATS = 3
"""Heartbeats that a session should have room for, so that two may be lost (Kafka's own advice)."""


def stop_seconds(config: SupervisorConfig) -> float:
    """Seconds after which the whole fleet has ended, whatever its handlers do.

    drain_timeout, then SIGTERM and kill_delay, then SIGKILL and the time that the kernel gets.
    """
    drain = max(config.drain_timeout_of(name) for name in config.consumers)
    return drain + config.supervisor.kill_delay + SlotPolicy().reap_timeout


def of_fleet(config: SupervisorConfig) -> Iterator[Problem]:
    """What is doubtful for all consumers."""
    delay = config.supervisor.kill_delay
    if delay < SHORTEST_KILL:
        yield Problem(
            "supervisor.kill_delay",
            f"{seconds(delay)} is too short for a worker to commit and to leave its group "
            "between SIGTERM and SIGKILL",
            'write kill_delay = "5s"',
        )


def of_consumer(
    config: SupervisorConfig, name: str, properties: Mapping[str, str]
) -> Iterator[Problem]:
    """What is doubtful for one consumer.

    Args:
        config: The configuration.
        name: The consumer.
        properties: The librdkafka properties that its workers have.
    """
    table, place = config.consumers[name], f"consumers.{name}"
    poll = _seconds(properties, POLL)
    drain = config.drain_timeout_of(name)
    drain_key = f"{place}.drain_timeout" if table.drain_timeout else "supervisor.drain_timeout"
    for key in ("attempt_timeout", "handler_timeout"):
        if limit := getattr(table, key):
            yield from _handler(key, limit, drain, poll, place)
    if table.attempt_timeout and 0 < table.handler_timeout <= table.attempt_timeout:
        yield Problem(
            f"{place}.handler_timeout",
            f"{seconds(table.handler_timeout)} is not above attempt_timeout "
            f"({seconds(table.attempt_timeout)}): the worker is replaced before the attempt ends",
            f'write handler_timeout = "{seconds(table.attempt_timeout + _MARGIN)}"',
        )
    if drain > poll:
        yield Problem(
            drain_key,
            f"{seconds(drain)} is longer than {POLL} ({seconds(poll)}): a handler that takes "
            "longer than that loses its partitions before the drain is over",
            f'write drain_timeout = "{seconds(poll)}" at most, or a longer "{POLL}" '
            f"in [{place}.kafka.options]",
        )
    if table.pinned is None:
        yield from _session(table, properties, place)


def _handler(key: str, limit: float, drain: float, poll: float, place: str) -> Iterator[Problem]:
    """What stands against a handler that runs for as long as it may."""
    if limit >= drain:
        yield Problem(
            f"{place}.{key}",
            f"{seconds(limit)} is not below drain_timeout ({seconds(drain)}): a stop may end a "
            "handler that is still allowed to run",
            f'write [{place}] drain_timeout = "{seconds(limit + _MARGIN)}", or a shorter {key}',
        )
    if limit >= poll:
        yield Problem(
            f"{place}.{key}",
            f"{seconds(limit)} is not below {POLL} ({seconds(poll)}): the worker leaves its "
            "group before the handler's time is over",
            f'write "{POLL}" = {round((limit + _MARGIN) * 1000)} in [{place}.kafka.options], '
            f"or a shorter {key}",
        )


def _session(table: ConsumerTable, properties: Mapping[str, str], place: str) -> Iterator[Problem]:
    if properties.get("group.protocol", "classic").lower() == "consumer":
        return  # KIP-848: both are the broker's
    session, heartbeat = _seconds(properties, SESSION), _seconds(properties, HEARTBEAT)
    options = f"{place}.kafka.options"
    if heartbeat * BEATS > session:
        yield Problem(
            f'{options}."{HEARTBEAT}"',
            f"{seconds(heartbeat)} is more than a third of {SESSION} ({seconds(session)}): a "
            "lost heartbeat or two, and the worker is removed from its group",
            f"write {round(session * 1000 / BEATS)} at most, or a longer {SESSION}",
        )
    if table.membership == "static" and table.restart.initial > session:
        yield Problem(
            f"{place}.restart.initial",
            f"{seconds(table.restart.initial)} is longer than {SESSION} ({seconds(session)}): "
            "partitions move before the worker is back, which static membership is to avoid",
            f'write a shorter delay, a longer "{SESSION}" in [{options}], or '
            'membership = "dynamic"',
        )


def _seconds(properties: Mapping[str, str], name: str) -> float:
    try:
        return float(properties[name]) / 1000
    except (KeyError, ValueError):
        return _LIBRDKAFKAS[name] / 1000
