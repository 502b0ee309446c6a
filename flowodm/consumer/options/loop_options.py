"""The options of a loop: each of them declared once, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.retry import OnFailure
from flowodm.consumer.engine.start import parse
from flowodm.consumer.handling.calls import wants_context
from flowodm.consumer.options.declaration import (
    POSITIVE_SECONDS,
    REQUIRED,
    SECONDS,
    SHARE,
    Range,
    declared_options,
    different_numbers,
    exception_classes,
    option,
)
from flowodm.consumer.options.signatures import check_function, describe, is_async
from flowodm.exceptions import ConfigurationError, SettingsError
from flowodm.model import settings_of
from flowodm.settings import LongRunningSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from confluent_kafka import Message

    from flowodm.consumer.handling.context import MessageContext
    from flowodm.events import Observer
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings

    StartFrom = str | datetime | int | Mapping[int, int]
    """What ``start_from`` may be; see :mod:`flowodm.consumer.engine.start`."""

RESERVED: Final = {
    "group.id": "group_id",
    "group.instance.id": "group_instance_id",
    "enable.auto.commit": "commit_strategy",
    "enable.auto.offset.store": "commit_strategy",
    "auto.commit.interval.ms": "commit_interval",
    "on_commit": "observers",
    "error_cb": "observers",
}
"""Properties of librdkafka that a loop sets by itself, and the option for each."""


def _profile(_name: str, settings: BaseSettings | None) -> BaseSettings:
    return LongRunningSettings() if settings is None else settings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoopOptions:
    """The options of a loop: each is declared here, and nowhere else.

    From these fields come the defaults, the checks, ``help(ConsumerLoop)`` and the table in
    docs/options.md. For type checkers and editors the arguments' types stand in `keywords` and in
    the constructors once more; a test compares them.
    """

    model: type[FlowBaseModel] = option(
        REQUIRED,
        "The class of the messages; its inner class `Settings` names the topic and the group.",
    )
    handler: Callable[..., Any] = option(
        REQUIRED,
        "The loop calls it with each message, or with (message, context) if it takes both. If it "
        "raises, that attempt at the message has failed.",
    )
    settings: BaseSettings = option(
        REQUIRED,
        "The settings profile: time-outs and fetch sizes.",
        default_words="`LongRunningSettings()`",
        convert=_profile,
    )
    group_id: str | None = option(
        None, "The consumer group.", default_words="`consumer_group` of the model"
    )
    error_handler: Callable[[Exception, Message, Any], Any] | None = option(
        None,
        "The loop calls it with (error, Kafka message, message or None) after the last attempt. If "
        "it returns, the message is settled; if it raises, the loop stops.",
        called_with=("error", "raw_message", "message"),
    )
    on_startup: Callable[[], Any] | None = option(
        None, "The loop calls it before it joins its group.", called_with=()
    )
    on_shutdown: Callable[[], Any] | None = option(
        None,
        "The loop calls it after the last commit and before it closes the consumer, also if "
        "`on_startup` raised.",
        called_with=(),
    )
    commit_strategy: CommitStrategy = option(
        CommitStrategy.BEFORE_PROCESSING,
        '"before_processing": the broker confirms the commit before the handler starts (at most '
        'once). "after_processing": the loop commits what is settled (at least once).',
        choices=CommitStrategy,
    )
    max_retries: int = option(
        0, "Further attempts after a failed one.", unit="attempts", allowed=Range(0)
    )
    retry_delay: float = option(
        1.0,
        "Time between two attempts. Other partitions go on meanwhile.",
        unit="seconds",
        allowed=SECONDS,
    )
    poll_timeout: float = option(
        1.0,
        "The longest time of one poll. The loop sees a stop within 0.1 s anyway.",
        unit="seconds",
        allowed=POSITIVE_SECONDS,
    )
    max_concurrent: int = option(
        1,
        "Handlers that run at the same time. ConsumerLoop runs more than one in threads, "
        "AsyncConsumerLoop in tasks.",
        async_default=10,
        unit="handlers",
        allowed=Range(1),
    )
    ordering: Ordering = option(
        Ordering.PARTITION,
        'The loop handles one after the other the messages of each "partition", those of each '
        '"key" (messages without a key in any order), or none ("unordered"). With `batch_size` it '
        'is "partition" by default, and may not be "key".',
        async_default=Ordering.KEY,
        choices=Ordering,
    )
    on_failure: OnFailure | None = option(
        None,
        "What follows when a message has failed for good and there is neither a dead-letter topic "
        'nor an error handler. "skip": the loop logs an error, counts the message and goes on. '
        '"stop": run() raises RecordError, and the offset is not committed.',
        default_words='"stop" with "after_processing", "skip" with "before_processing"',
        choices=OnFailure,
    )
    retry_backoff: float = option(
        1.0,
        "Each further delay is this many times the one before.",
        unit="factor",
        allowed=Range(1),
    )
    retry_max_delay: float = option(
        60.0, "The longest delay between two attempts.", unit="seconds", allowed=SECONDS
    )
    retry_jitter: float = option(
        0.0,
        "The loop shortens each delay at random, by this share of it at most.",
        unit="share",
        allowed=SHARE,
    )
    retry_on: tuple[type[BaseException], ...] | None = option(
        None,
        "The only exceptions after which there is another attempt.",
        default_words="all",
        convert=exception_classes,
    )
    never_retry: tuple[type[BaseException], ...] = option(
        (), "Exceptions after which there is no other attempt.", convert=exception_classes
    )
    attempt_timeout: float | None = option(
        None,
        "Time for one attempt. Then the handler is cancelled, and the attempt has failed.",
        unit="seconds",
        allowed=POSITIVE_SECONDS,
        async_only="nothing can end a plain function from outside; give what it waits for a "
        "time-out of its own",
    )
    dead_letter_topic: str | None = option(
        None,
        "The topic that gets a copy of each message that failed for good: its bytes, key and "
        "headers. The loop commits the offset when the broker has acknowledged the copy, and calls "
        "the error handler after that. If the copy cannot be delivered, the loop stops.",
    )
    dead_letter_limit: float = option(
        0.5,
        "The loop stops when more than this share of the last 100 messages were dead letters, so "
        "that a broken handler does not move a whole topic. 1: no limit.",
        unit="share",
        allowed=SHARE,
    )
    batch_size: int | None = option(
        None,
        "The handler gets lists of up to this many messages, each list from one partition.",
        unit="messages",
        allowed=Range(1),
    )
    batch_timeout: float = option(
        0.1, "How long a smaller batch waits for more messages.", unit="seconds", allowed=SECONDS
    )
    tombstone_handler: Callable[[MessageContext], Any] | None = option(
        None,
        "The loop calls it with the context of each record that has no value. Without it, the loop "
        "counts such a record and passes over it.",
        called_with=("context",),
    )
    header_filter: Callable[[dict[str, bytes | None]], Any] | None = option(
        None,
        "The loop calls it with the headers of each record as a dict, before it decodes the "
        "record. If it returns something false, the loop counts the record as filtered and passes "
        "over it.",
        called_with=("headers",),
    )
    start_from: StartFrom | None = option(
        None,
        "Where the group starts in a partition for which it has committed nothing: "
        '"earliest", "latest", a datetime with a time zone, an offset, or a dict of partition to '
        "offset.",
        default_words="`auto_offset_reset` of the profile",
    )
    commit_interval: float = option(
        1.0,
        'Time between two commits with "after_processing", which is what a crash may repeat. An '
        "idle loop, a revoked partition and the end of the loop commit at once.",
        unit="seconds",
        allowed=POSITIVE_SECONDS,
    )
    commit_ahead: float = option(
        0.1,
        'How much work "before_processing" may commit before it starts, which is what a crash may '
        "lose. 0: one message at a time.",
        unit="seconds",
        allowed=Range(0),
    )
    drain_timeout: float = option(
        30.0,
        "How long running handlers may take to finish after stop(), or when their partition is "
        "revoked.",
        unit="seconds",
        allowed=SECONDS,
    )
    partitions: tuple[int, ...] | None = option(
        None,
        "The loop consumes exactly these partitions, without group membership. It still commits "
        "offsets under the group's name.",
        default_words="the group assigns them",
        convert=different_numbers,
    )
    group_instance_id: str | None = option(
        None,
        "Kafka's `group.instance.id` of a static member (KIP-345).",
        default_words="dynamic membership",
    )
    consumer_config: dict[str, Any] = option(
        {}, "Further properties of librdkafka's consumer.", secret=True
    )
    observers: Sequence[Observer] = option(
        (), "The loop calls each of them with every event; see `flowodm.events`."
    )
    handle_signals: bool = option(
        True, "Whether run() stops on SIGTERM and SIGINT, where it runs in the main thread."
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is started.

        Raises:
            ValueError: A number is out of its range, or ``start_from`` is no start position.
            TypeError: A value is no number, and has to be one.
            ConfigurationError: A function is a generator function, or cannot be called with
                what it will get.
            SettingsError: ``consumer_config`` sets a property that belongs to the loop.
        """
        for name, declared in OPTIONS.items():
            value = getattr(self, name)
            if value is not None:
                declared.check(name, value)
        self._check_handler()
        self._check_combinations()
        if self.start_from is not None:
            parse(self.start_from)
        for key in self.consumer_config:
            if key in RESERVED:
                raise SettingsError(
                    f"consumer_config may not set {key!r}: the loop does; use {RESERVED[key]}"
                )

    def _check_handler(self) -> None:
        arguments: tuple[str, ...] = ("message", "context")
        if self.batch_size is not None:
            arguments = ("messages", "contexts")
        if not wants_context(self.handler):
            arguments = arguments[:1]
        check_function("handler", self.handler, arguments)
        if self.header_filter is not None and is_async(self.header_filter):
            raise ConfigurationError(
                f"header_filter {describe(self.header_filter)} is async: it is called for every "
                "record before decoding and must be a plain function"
            )

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
            return None  # run() reports it, with the name of the class


OPTIONS: Final = declared_options(LoopOptions)
"""The options by name, in the order in which they are documented."""
