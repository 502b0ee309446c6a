"""The types of the arguments of a loop, for type checkers and editors.

They are a second declaration, which a test compares with the first. Nothing loads them at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Message

    from flowodm.consumer.handling.context import MessageContext
    from flowodm.consumer.options.loop_options import StartFrom
    from flowodm.events import Observer


class MoreOptions(TypedDict, total=False):
    """The options of both loops that a program gives by name only; None asks for the default.

    `loop_options.LoopOptions` declares them, with their defaults and meanings.
    """

    ordering: str | None
    on_failure: str | None
    retry_backoff: float
    retry_max_delay: float
    retry_jitter: float
    retry_on: Iterable[type[BaseException]] | None
    never_retry: Iterable[type[BaseException]]
    attempt_timeout: float | None
    dead_letter_topic: str | None
    dead_letter_limit: float
    batch_size: int | None
    batch_timeout: float
    tombstone_handler: Callable[[MessageContext], Any] | None
    header_filter: Callable[[dict[str, bytes | None]], Any] | None
    start_from: StartFrom | None
    commit_interval: float
    commit_ahead: float
    drain_timeout: float
    partitions: Iterable[int] | None
    group_instance_id: str | None
    consumer_config: dict[str, Any] | None
    observers: Sequence[Observer]
    handle_signals: bool


class SyncOptions(MoreOptions, total=False):
    """Those of ConsumerLoop, which takes ``max_concurrent`` by name only, too."""

    max_concurrent: int


class DecoratorOptions(SyncOptions, total=False):
    """All options that a decorator takes, which are those of its loop, by name."""

    group_id: str | None
    error_handler: Callable[[Exception, Message, Any], Any] | None
    on_startup: Callable[[], Any] | None
    on_shutdown: Callable[[], Any] | None
    commit_strategy: str
    max_retries: int
    retry_delay: float
    poll_timeout: float
