"""What a loop is told, checked: the arguments of both loops become rules and a source."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from flowodm.connection import get_kafka_connection
from flowodm.consumer.commit import CommitStrategy
from flowodm.consumer.engine import Rules
from flowodm.consumer.ordering import Ordering
from flowodm.consumer.poller import Source
from flowodm.consumer.retry import FailurePolicy, OnFailure
from flowodm.exceptions import ConfigurationError, SettingsError
from flowodm.model import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowodm.events import Observer
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings

E = TypeVar("E", bound=Enum)

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
#: Upper bound of every length of time, in seconds: what is longer overflows the system's timers.
LONGEST = 366 * 24 * 3600
HEARTBEAT = "heartbeat.interval.ms"
#: A member hears of a rebalance in the answer to its next heartbeat, and the rebalance waits for
#: it: with the 60 s of LongRunningSettings every join or leave would stop the group for up to a
#: minute. librdkafka beats in a thread of its own, so a long interval saves a loop nothing, and
#: profiles are capped at Kafka's default. Who really wants another one sets the property itself
#: (extra_config or consumer_config).
HEARTBEAT_MS = 3000


#: The arguments that each of the user's functions gets.
CALLED_WITH = {
    "handler": ("message",),
    "error_handler": ("error", "raw_message", "message"),
    "on_startup": (),
    "on_shutdown": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The arguments of :class:`ConsumerLoop` and :class:`AsyncConsumerLoop`, described there."""

    model: type[FlowBaseModel]
    handler: Callable[[Any], Any]
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
    commit_interval: float = 1.0
    commit_ahead: float = 0.1
    drain_timeout: float = 30.0
    partitions: tuple[int, ...] | None = None
    group_instance_id: str | None = None
    consumer_config: dict[str, Any] = field(default_factory=dict)
    observers: Sequence[Observer] = ()
    handle_signals: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is started.

        Raises:
            ValueError: A number is out of its range.
            ConfigurationError: A function is a generator function, or cannot be called with
                what it will get.
            SettingsError: ``consumer_config`` sets what belongs to the loop.
        """
        self._check_numbers()
        for name, arguments in CALLED_WITH.items():
            function = getattr(self, name)
            if function is not None:
                _check_function(name, function, arguments)
        for key in self.consumer_config:
            if key in RESERVED:
                raise SettingsError(
                    f"consumer_config may not set {key!r}: the loop does; use {RESERVED[key]}"
                )

    def _check_numbers(self) -> None:
        for name in ("retry_delay", "poll_timeout", "commit_interval", "drain_timeout"):
            if getattr(self, name) > LONGEST:
                raise ValueError(f"{name} must be {LONGEST} s (a year) at most")
        for name in ("max_retries", "retry_delay", "commit_ahead", "drain_timeout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("poll_timeout", "commit_interval", "max_concurrent"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)}")
        if self.partitions is not None and (
            not self.partitions or len(set(self.partitions)) != len(self.partitions)
        ):
            raise ValueError(f"partitions must be different numbers, not {self.partitions}")

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
        default = OnFailure.SKIP if before else OnFailure.STOP
        return Rules(
            strategy=self.commit_strategy,
            ordering=self.ordering,
            failures=FailurePolicy(
                max_retries=self.max_retries,
                retry_delay=self.retry_delay,
                on_failure=self.on_failure or default,
                error_handler=self.error_handler is not None,
            ),
            max_concurrent=self.max_concurrent,
            fetch_size=self.settings.max_poll_records,
            commit_interval=self.commit_interval,
            commit_ahead=self.commit_ahead,
            max_poll_interval=int(source.config["max.poll.interval.ms"]) / 1000,
            revoke_timeout=self.drain_timeout,
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
        )


def choice(kind: type[E], name: str, value: str | E) -> E:
    """The member of an Enum that an argument names.

    Raises:
        ValueError: There is none; the message lists those that there are.
    """
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{name} must be one of {names}, not {value!r}") from None


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: also for partials and objects with __call__."""
    return _is(handler, (inspect.iscoroutinefunction,))


def describe(function: Callable[..., Any]) -> str:
    """A function's name for an error message."""
    return getattr(function, "__qualname__", None) or repr(function)


GENERATORS = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def _is(function: Callable[..., Any], kinds: Sequence[Callable[[object], bool]]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004 - the method itself is looked at
    return any(kind(function) or kind(call) for kind in kinds)


def _check_function(name: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    if _is(function, GENERATORS):
        raise ConfigurationError(
            f"{name} {describe(function)} is a generator function: calling it runs none of its "
            "body; remove the yield"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some functions written in C do not tell
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ConfigurationError(
            f"{name} {describe(function)}{signature} cannot be called with "
            f"({', '.join(arguments)}): {error}"
        ) from error
