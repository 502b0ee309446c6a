"""Warnings about time-outs: handler < drain < kill < service manager; session and poll. Pure.

A broken order of time-outs is no error of the file, as it may be intended. But something then
ends earlier than the next one expects, so `check` warns, and says what to write instead.
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
_DEFAULTS = {SESSION: 45_000.0, HEARTBEAT: 3_000.0, POLL: 300_000.0}
"""librdkafka's defaults, in milliseconds, from its CONFIGURATION.md."""
_MARGIN = 5.0
"""Seconds between one time-out and the next in what is proposed."""
SHORTEST_KILL = 1.0
"""Seconds of kill_delay below which a busy worker cannot commit and leave its group in time."""
BEATS = 3
"""Heartbeats that a session should have time for, so that two may be lost (as Kafka advises)."""


def stop_seconds(config: SupervisorConfig) -> float:
    """Return the seconds after which the whole fleet has ended, whatever its handlers do.

    They are drain_timeout, then SIGTERM and kill_delay, then SIGKILL and the kernel's time.
    """
    drain = max(config.drain_timeout_of(name) for name in config.consumers)
    return drain + config.supervisor.kill_delay + SlotPolicy().reap_timeout


def fleet_warnings(config: SupervisorConfig) -> Iterator[Problem]:
    """Yield the warnings about all consumers."""
    delay = config.supervisor.kill_delay
    if delay < SHORTEST_KILL:
        yield Problem(
            "supervisor.kill_delay",
            f"{seconds(delay)} is too short for a worker to commit and to leave its group "
            "between SIGTERM and SIGKILL",
            'write kill_delay = "5s"',
        )


def consumer_warnings(
    config: SupervisorConfig, name: str, properties: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield the warnings about one consumer.

    Args:
        config: The configuration.
        name: The consumer.
        properties: The librdkafka properties of its workers.
    """
    table, place = config.consumers[name], f"consumers.{name}"
    poll = _seconds(properties, POLL)
    drain = config.drain_timeout_of(name)
    drain_key = f"{place}.drain_timeout" if table.drain_timeout else "supervisor.drain_timeout"
    for key in ("attempt_timeout", "handler_timeout"):
        if limit := getattr(table, key):
            yield from _handler(f"{place}.{key}", limit, drain, poll=poll)
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


def _handler(key: str, limit: float, drain: float, *, poll: float) -> Iterator[Problem]:
    """Yield the warnings about a handler that runs for as long as it may.

    Args:
        key: The key of its limit.
        limit: Its value.
        drain: The drain time-out.
        poll: The longest time between two polls.
    """
    place, _, name = key.rpartition(".")
    if limit >= drain:
        yield Problem(
            key,
            f"{seconds(limit)} is not below drain_timeout ({seconds(drain)}): a stop may end a "
            "handler that is still allowed to run",
            f'write [{place}] drain_timeout = "{seconds(limit + _MARGIN)}", or a shorter {name}',
        )
    if limit >= poll:
        yield Problem(
            key,
            f"{seconds(limit)} is not below {POLL} ({seconds(poll)}): the worker leaves its "
            "group before the handler's time is over",
            f'write "{POLL}" = {round((limit + _MARGIN) * 1000)} in [{place}.kafka.options], '
            f"or a shorter {name}",
        )


def _session(table: ConsumerTable, properties: Mapping[str, str], place: str) -> Iterator[Problem]:
    """Yield the warnings about the group's session."""
    if properties.get("group.protocol", "classic").lower() == "consumer":
        return  # KIP-848: the broker has both time-outs
    session, heartbeat = _seconds(properties, SESSION), _seconds(properties, HEARTBEAT)
    options = f"{place}.kafka.options"
    if heartbeat * BEATS > session:
        yield Problem(
            f'{options}."{HEARTBEAT}"',
            f"{seconds(heartbeat)} is more than a third of {SESSION} ({seconds(session)}): the "
            "worker is removed from its group when one or two heartbeats are lost",
            f"write {round(session * 1000 / BEATS)} at most, or a longer {SESSION}",
        )
    if table.membership == "static" and table.restart.initial > session:
        yield Problem(
            f"{place}.restart.initial",
            f"{seconds(table.restart.initial)} is longer than {SESSION} ({seconds(session)}): "
            "partitions move before the worker is back, which static membership should avoid",
            f'write a shorter delay, a longer "{SESSION}" in [{options}], or '
            'membership = "dynamic"',
        )


def _seconds(properties: Mapping[str, str], name: str) -> float:
    """Return a property in seconds, or its default."""
    try:
        return float(properties[name]) / 1000
    except (KeyError, ValueError):
        return _DEFAULTS[name] / 1000
