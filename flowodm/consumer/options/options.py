"""What a loop was told, checked, and what it means for the engine and the poller."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowodm.connection import get_kafka_connection
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import BatchRule, Ordering
from flowodm.consumer.engine.retry import FailurePolicy, OnFailure
from flowodm.consumer.engine.rules import Rules
from flowodm.consumer.engine.start import parse
from flowodm.consumer.handling.calls import wants_context
from flowodm.consumer.kafka.source import Source
from flowodm.consumer.options.signatures import check_function, describe, is_async
from flowodm.exceptions import ConfigurationError, SettingsError
from flowodm.model import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from flowodm.consumer.handling.context import MessageContext
    from flowodm.events import Observer
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings

    #: What ``start_from`` may be; see :mod:`flowodm.consumer.engine.start`.
    StartFrom = str | datetime | int | Mapping[int, int]

#: Properties of librdkafka that a loop sets by itself, and what to use instead.
RESERVED = {
    "group.id": "group_id",
    "group.instance.id": "group_instance_id",
    "enable.auto.commit": "commit_strategy",
    "enable.auto.offset.store": "commit_strategy",
    "auto.commit.interval.ms": "commit_interval",
    "on_commit": "observers",
    "error_cb": "observers",
}

#: How soon a member finds out that its topic was made or has grown: librdkafka's own 5 minutes
#: are long for a consumer that was deployed before its topic.
METADATA_MS = 30_000
#: librdkafka's own ``fetch.wait.max.ms``.
FETCH_WAIT_MS = 500
#: Upper bound of every length of time, in seconds: what is longer overflows the system's timers.
LONGEST = 366 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a number may have."""

    least: float
    most: float | None = None
    above: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether it is one of them; NaN never is."""
        high_enough = value > self.least if self.above else value >= self.least
        return high_enough and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        """As it goes on after "must be"."""
        low = f"more than {self.least}" if self.above else f"{self.least} or more"
        if self.most is None:
            return low
        return f"{low}, {self.most} at most"


_SECONDS, _SOME_SECONDS = Range(0, LONGEST), Range(0, LONGEST, above=True)
RANGES = {
    "max_retries": Range(0),
    "retry_delay": _SECONDS,
    "retry_backoff": Range(1),
    "retry_max_delay": _SECONDS,
    "retry_jitter": Range(0, 1),
    "attempt_timeout": _SOME_SECONDS,
    "dead_letter_limit": Range(0, 1),
    "batch_size": Range(1),
    "batch_timeout": _SECONDS,
    "poll_timeout": _SOME_SECONDS,
    "commit_interval": _SOME_SECONDS,
    "commit_ahead": Range(0),
    "drain_timeout": _SECONDS,
    "max_concurrent": Range(1),
}

HEARTBEAT = "heartbeat.interval.ms"
#: A member hears of a rebalance in the answer to its next heartbeat, and the rebalance waits for
#: it: with the 60 s of LongRunningSettings every join or leave would stop the group for up to a
#: minute. librdkafka beats in a thread of its own, so a long interval saves a loop nothing, and
#: profiles are capped at Kafka's default. Who really wants another one sets the property itself
#: (extra_config or consumer_config).
HEARTBEAT_MS = 3000


#: The arguments that each of the user's functions gets; handlers may take one more, see
#: :func:`flowodm.consumer.handling.calls.wants_context`.
CALLED_WITH = {
    "error_handler": ("error", "raw_message", "message"),
    "on_startup": (),
    "on_shutdown": (),
    "tombstone_handler": ("context",),
    "header_filter": ("headers",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The arguments of both loops, as ConsumerLoop and MoreOptions describe them; checked."""

    model: type[FlowBaseModel]
    handler: Callable[..., Any]
    settings: BaseSettings
    group_id: str | None = None
    error_handler: Callable[[Exception, Any, Any], Any] | None = None
    on_startup: Callable[[], Any] | None = None
    on_shutdown: Callable[[], Any] | None = None
    commit_strategy: CommitStrategy = CommitStrategy.BEFORE_PROCESSING
    max_retries: int = 0
    retry_delay: float = 1.0
    poll_timeout: float = 1.0
    max_concurrent: int = 1
    ordering: Ordering = Ordering.PARTITION
    on_failure: OnFailure | None = None
    retry_backoff: float = 1.0
    retry_max_delay: float = 60.0
    retry_jitter: float = 0.0
    retry_on: tuple[type[BaseException], ...] | None = None
    never_retry: tuple[type[BaseException], ...] = ()
    attempt_timeout: float | None = None
    dead_letter_topic: str | None = None
    dead_letter_limit: float = 0.5
    batch_size: int | None = None
    batch_timeout: float = 0.1
    tombstone_handler: Callable[[MessageContext], Any] | None = None
    header_filter: Callable[[dict[str, bytes | None]], Any] | None = None
    start_from: StartFrom | None = None
    commit_interval: float = 1.0
    commit_ahead: float = 0.1
    drain_timeout: float = 30.0
    partitions: tuple[int, ...] | None = None
    group_instance_id: str | None = None
    consumer_config: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold secrets
    observers: Sequence[Observer] = ()
    handle_signals: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is started.

        Raises:
            ValueError: A number is out of its range, or ``start_from`` is no start position.
            ConfigurationError: A function is a generator function, or cannot be called with
                what it will get.
            SettingsError: ``consumer_config`` sets what belongs to the loop.
        """
        self._check_numbers()
        self._check_combinations()
        if self.start_from is not None:
            parse(self.start_from)
        for name, arguments in CALLED_WITH.items():
            function = getattr(self, name)
            if function is not None:
                check_function(name, function, arguments)
        one = ("message", "context") if self.batch_size is None else ("messages", "contexts")
        check_function("handler", self.handler, one[: 1 + wants_context(self.handler)])
        if self.header_filter is not None and is_async(self.header_filter):
            raise ConfigurationError(
                f"header_filter {describe(self.header_filter)} is async: it is asked for every "
                "record before decoding and must be a plain function"
            )
        for key in self.consumer_config:
            if key in RESERVED:
                raise SettingsError(
                    f"consumer_config may not set {key!r}: the loop does; use {RESERVED[key]}"
                )

    def _check_numbers(self) -> None:
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise ValueError(f"{name} must be {allowed}, not {value}")
        if self.partitions is not None and (
            not self.partitions or len(set(self.partitions)) != len(self.partitions)
        ):
            raise ValueError(f"partitions must be different numbers, not {self.partitions}")

    def _check_combinations(self) -> None:
        if self.batch_size is not None and self.ordering is Ordering.KEY:
            raise ValueError(
                "ordering='key' cannot go with batch_size, as a batch holds many keys: use "
                "'partition' or 'unordered'"
            )
        if self.dead_letter_topic is not None and self.dead_letter_topic == self._topic():
            raise ValueError(
                f"dead_letter_topic {self.dead_letter_topic!r} is the topic that is consumed: "
                "a dead letter would come back for ever; use another one"
            )

    def _topic(self) -> str | None:
        try:
            return settings_of(self.model).topic
        except SettingsError:
            return None  # said when the loop runs, where the message names the class

    @property
    def group(self) -> str:
        """The consumer group.

        Raises:
            ConfigurationError: Neither the loop nor the model names one.
        """
        group = self.group_id or settings_of(self.model).consumer_group
        if not group:
            raise ConfigurationError(
                f"{self.model.__name__} has no consumer group: set consumer_group in its inner "
                "class Settings, or pass group_id"
            )
        return group

    def rules(self, source: Source) -> Rules:
        """The engine's part; the poll interval is the one that librdkafka gets."""
        before = self.commit_strategy is CommitStrategy.BEFORE_PROCESSING
        # Nobody takes away partitions that are pinned.
        granted = int(source.config["max.poll.interval.ms"]) / 1000
        default = OnFailure.SKIP if before else OnFailure.STOP
        return Rules(
            strategy=self.commit_strategy,
            ordering=self.ordering,
            failures=FailurePolicy(
                max_retries=self.max_retries,
                retry_delay=self.retry_delay,
                on_failure=self.on_failure or default,
                error_handler=self.error_handler is not None,
                dead_letters=self.dead_letter_topic is not None,
                backoff=self.retry_backoff,
                max_delay=self.retry_max_delay,
                jitter=self.retry_jitter,
                retry_on=self.retry_on,
                never_retry=self.never_retry,
            ),
            max_concurrent=self.max_concurrent,
            fetch_size=self.settings.max_poll_records,
            fetch_wait=int(source.config.get("fetch.wait.max.ms", FETCH_WAIT_MS)) / 1000,
            commit_interval=self.commit_interval,
            commit_ahead=self.commit_ahead,
            max_poll_interval=granted if source.partitions is None else math.inf,
            revoke_timeout=self.drain_timeout,
            batch=BatchRule(self.batch_size, self.batch_timeout) if self.batch_size else None,
            dead_letter_limit=self.dead_letter_limit,
        )

    def source(self) -> Source:
        """The poller's part, with the process's connection as it is now."""
        connection = get_kafka_connection()
        config = connection.consumer_config(self.group, self.settings, self.consumer_config)
        config.setdefault("topic.metadata.refresh.interval.ms", METADATA_MS)
        config["enable.auto.commit"] = False
        config["enable.auto.offset.store"] = False
        if HEARTBEAT in config and HEARTBEAT not in {
            **self.settings.extra_config,
            **self.consumer_config,
        }:
            config[HEARTBEAT] = min(config[HEARTBEAT], HEARTBEAT_MS)
        if self.group_instance_id is not None:
            config["group.instance.id"] = self.group_instance_id
        return Source(
            config=config,
            topic=settings_of(self.model).topic,
            partitions=self.partitions,
            fetch_size=self.settings.max_poll_records,
            poll_timeout=self.poll_timeout,
            start=None if self.start_from is None else parse(self.start_from),
        )
