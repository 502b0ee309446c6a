"""The arguments of a loop as users give them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.retry import OnFailure
from flowodm.consumer.options.options import Options
from flowodm.consumer.options.signatures import describe, is_async
from flowodm.exceptions import ConfigurationError
from flowodm.settings import LongRunningSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowodm.consumer.handling.context import MessageContext
    from flowodm.consumer.options.options import StartFrom
    from flowodm.events import Observer
    from flowodm.settings import BaseSettings

E = TypeVar("E", bound=Enum)


class MoreOptions(TypedDict, total=False):
    """The further options of both loops, all of them by name only.

    Attributes:
        ordering: "partition": the messages of a partition one after the other; "key": those of
            a key, the ones without a key in any order; "unordered".
        on_failure: What becomes of a message that failed for good, where there is neither a
            dead-letter topic nor an error handler: "skip" (logged at error, counted) or "stop"
            (run() raises RecordError and its offset is not committed). Default: "stop" for
            after_processing, "skip" for before_processing.
        retry_backoff: Each further delay is this many times the one before; 1 by default.
        retry_max_delay: The longest delay, in seconds; 60 by default.
        retry_jitter: The share of a delay that is left to chance, 0 (default) to 1.
        retry_on: Only these exceptions are retried; all by default.
        never_retry: These are not retried.
        attempt_timeout: Seconds for one attempt; then the handler is cancelled and has failed.
            AsyncConsumerLoop only: nothing can end a plain function from outside.
        dead_letter_topic: Where a copy of each message that failed for good goes, original
            bytes, key and headers. Its offset is committed once the broker has the copy; an
            error handler is called after that. A copy that cannot be delivered stops the loop.
        dead_letter_limit: The loop stops when more than this share of the last 100 messages
            were dead letters: a broken handler should not empty a topic into the bin. 0.5 by
            default; 1 sets no limit.
        batch_size: The handler takes lists of up to so many messages, of one partition each.
            Ordering is "partition" (default) or "unordered" then.
        batch_timeout: Seconds that a smaller batch waits for more messages; 0.1 by default.
        tombstone_handler: Called with the context of a record without a value, which is
            counted and passed over otherwise.
        header_filter: Called with a record's headers as a dict, before it is decoded; a record
            for which it returns something false is passed over and counted as filtered.
        start_from: Where a group begins that has committed nothing for a partition:
            "earliest", "latest", a datetime with time zone, an offset, or a dict of partition
            to offset. By default the profile's ``auto.offset.reset``.
        commit_interval: Seconds between commits (after_processing); 1 by default. An idle loop,
            a revoked partition and the end commit at once.
        commit_ahead: Seconds of work that may be committed before it starts
            (before_processing), which is what a crash may lose; 0.1 by default; 0: one message
            at a time.
        drain_timeout: Seconds that running handlers get to finish after stop() or a revoke; 30
            by default.
        partitions: Exactly these partition numbers, without group membership; offsets are still
            committed in the group's name. None: the group decides.
        group_instance_id: Static membership (KIP-345): ``group.instance.id``.
        consumer_config: Further librdkafka properties.
        observers: Called with every event; see :mod:`flowodm.events`.
        handle_signals: Whether run(), in the main thread, stops on SIGTERM and SIGINT; true by
            default.
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
    """Those of ConsumerLoop, whose ``max_concurrent`` is not among its positional arguments.

    Attributes:
        max_concurrent: Handlers that run at the same time, in threads if more than 1; 1 by
            default.
    """

    max_concurrent: int


def make_options(
    *,
    settings: BaseSettings | None,
    commit_strategy: str | CommitStrategy,
    defaults: Mapping[str, Any],
    more: MoreOptions | SyncOptions,
    **rest: Any,
) -> Options:
    """The arguments of a loop as users give them, checked.

    Args:
        settings: The profile.
        commit_strategy: By its name.
        defaults: Of the further options, where the two loops differ.
        more: The further options.
        rest: The other arguments, as they are.

    Raises:
        TypeError: There is no such option, or something is no exception class.
        ValueError: A name is not one of the choices, or a number is out of its range.
        ConfigurationError: A function does not take what it will get.
        SettingsError: ``consumer_config`` sets what belongs to the loop.
    """
    given: dict[str, Any] = {name: value for name, value in more.items() if value is not None}
    unknown = sorted(given.keys() - SyncOptions.__annotations__.keys())
    if unknown:
        close = difflib.get_close_matches(unknown[0], SyncOptions.__annotations__, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise TypeError(f"a loop has no option {unknown[0]!r}{hint}")
    if given.get("batch_size"):
        defaults = {**defaults, "ordering": "partition"}
    options = {**defaults, **given}
    for name in ("retry_on", "never_retry"):
        if name in options:
            options[name] = _classes(name, options[name])
    if "partitions" in options:
        options["partitions"] = tuple(options["partitions"])
    options["ordering"] = choice(Ordering, "ordering", options["ordering"])
    if "on_failure" in options:
        options["on_failure"] = choice(OnFailure, "on_failure", options["on_failure"])
    return Options(
        settings=LongRunningSettings() if settings is None else settings,
        commit_strategy=choice(CommitStrategy, "commit_strategy", commit_strategy),
        **options,
        **rest,
    )


def _classes(name: str, given: Any) -> tuple[type[BaseException], ...]:
    """Exception classes; one alone is a list of one."""
    classes = tuple(given) if isinstance(given, Iterable) else (given,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise TypeError(f"{name} must hold exception classes, not {cls!r}")
    return classes


def refuse_what_only_async_can(options: Options) -> None:
    """ConsumerLoop awaits nothing, and cannot interrupt a handler.

    Raises:
        ConfigurationError: An option asks for one of these.
    """
    functions = (options.handler, options.error_handler, options.on_startup, options.on_shutdown)
    for function in (*functions, options.tombstone_handler):
        if function is not None and is_async(function):
            raise ConfigurationError(f"{describe(function)} is async: use AsyncConsumerLoop for it")
    if options.attempt_timeout is not None:
        raise ConfigurationError(
            "attempt_timeout needs AsyncConsumerLoop: nothing can end a plain function from "
            "outside; give what it waits for a time-out of its own"
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
