"""[consumers.NAME]: what its workers run, how many there are, and when they are replaced."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from supervisor.config import consumer_rules as rules
from supervisor.config.kafka import KafkaTable
from supervisor.config.restart import RestartTable
from supervisor.config.values import (
    ExceptionName,
    PositiveSeconds,
    Reference,
    Seconds,
    Size,
    StartFrom,
    Table,
    TopicName,
    TracingChoice,
    Whole,
    is_reference,
)
from supervisor.slot.hang import Limits
from supervisor.slot.recycling import Lifespan

PROFILES = {
    "base": "BaseSettings",
    "batch": "BatchSettings",
    "long_running": "LongRunningSettings",
    "real_time": "RealTimeSettings",
    "high_throughput": "HighThroughputSettings",
    "reliable": "ReliableSettings",
}
"""Short names of the profiles in flowodm.settings."""
FUNCTIONS = (
    "handler",
    "error_handler",
    "on_startup",
    "on_shutdown",
    "tombstone_handler",
    "header_filter",
)
"""The keys of a consumer that name a function."""
EXCEPTIONS = ("retry_on", "never_retry")
"""The keys of a consumer that name exception classes."""
WATCHED = frozenset({"silence_timeout", "handler_timeout", "stall_timeout", "dump_delay"})
"""The keys of a consumer that say when a worker hangs, and what follows."""
RECYCLED = frozenset({"max_lifetime", "max_messages", "max_rss", "recycle_jitter"})
"""The keys of a consumer that say when a worker is recycled."""
PINNED = ("partition_groups", "partitions_per_worker")
"""The keys of a consumer that pin its partitions, each instead of the other and of workers."""
NOT_THE_LOOPS = WATCHED | RECYCLED | {"workers", *PINNED, "membership", "restart", "kafka"}
"""The keys of a consumer that are the supervisor's; all others are the loops' arguments."""
MOST_WORKERS = 1000
"""Most workers of one consumer."""


def _profile(value: str) -> str:
    if value in PROFILES or is_reference(value):
        return value
    names = ", ".join(f'"{name}"' for name in PROFILES)
    hint = f'write {names}, or "module:name"'
    raise PydanticCustomError("profile", "is not a settings profile", {"hint": hint})


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        hint = (
            "name the exceptions to retry, or remove the key to retry all; max_retries = 0 "
            "retries none"
        )
        raise PydanticCustomError("empty", "has no exception", {"hint": hint})
    return value


def _option(default: float | str, meaning: str, **more: Any) -> Any:
    """Declare a key that is None unless it is written.

    Args:
        default: What holds then: flowodm has it too, as the default of the loop's argument.
        meaning: What the key is for.
        more: Further arguments of Field.
    """
    return Field(default=None, description=meaning, json_schema_extra={"default": default}, **more)


class ConsumerTable(Table):
    """[consumers.NAME]: one consumer and its workers.

    Keys without a default of their own are None: arguments of the same names of flowodm's
    ConsumerLoop or AsyncConsumerLoop, which has the default.
    """

    model: Reference = Field(
        description='The FlowBaseModel subclass of the messages, as "package.module:Class".',
        examples=["shop.orders:OrderEvent"],
    )
    handler: Reference = Field(
        description='The function that gets each message, as "package.module:function". An `async '
        "def` function runs in an AsyncConsumerLoop.",
        examples=["shop.orders:process_order"],
    )
    error_handler: Reference | None = Field(
        default=None,
        description="Function that is called with (error, raw message, message or None) after the "
        "last attempt has failed. The message is settled when it returns.",
    )
    on_startup: Reference | None = Field(
        default=None, description="Function that each worker calls before it joins the group."
    )
    on_shutdown: Reference | None = Field(
        default=None, description="Function that each worker calls after its last commit."
    )
    workers: Annotated[Whole, Field(ge=1, le=MOST_WORKERS)] | None = _option(
        1,
        "Number of worker processes, which share the topic's partitions as members of the "
        "consumer group.",
        examples=[4],
    )
    partition_groups: tuple[tuple[Annotated[Whole, Field(ge=0)], ...], ...] | None = Field(
        default=None,
        description="Instead of workers: a list of partition numbers for each worker. It consumes "
        "exactly these partitions, without group membership.",
        examples=[[[0, 1], [2, 3]]],
    )
    partitions_per_worker: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Instead of workers: the number of partitions that each worker consumes, "
        "without group membership. There are as many workers as the topic needs. When the topic "
        "grows, so does their number, and new partitions are read from their beginning.",
        examples=[2],
    )
    membership: Literal["static", "dynamic"] = Field(
        default="static",
        description='"static": each worker has its own group.instance.id (KIP-345), so that a '
        'restart moves no partitions. "dynamic": no worker has one.',
    )
    settings: Annotated[str, AfterValidator(_profile)] | None = _option(
        "long_running",
        f'Settings profile: {", ".join(PROFILES)}, or your own as "package.module:settings".',
        examples=["long_running"],
    )
    group_id: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Consumer group, instead of the model's."
    )
    commit_strategy: Literal["before_processing", "after_processing"] | None = _option(
        "before_processing",
        'When offsets are committed: "before_processing" (at most once) or "after_processing" (at '
        "least once).",
    )
    max_retries: Annotated[Whole, Field(ge=0)] | None = _option(
        0, "Number of further attempts after the first one has failed."
    )
    retry_delay: Seconds | None = _option(
        1.0,
        "Time between two attempts; other partitions are handled meanwhile.",
        examples=["1s"],
    )
    retry_backoff: float | None = _option(
        1.0,
        "Factor by which each further delay is longer than the one before.",
        ge=1,
        allow_inf_nan=False,
        examples=[2.0],
    )
    retry_max_delay: Seconds | None = _option(60.0, "Longest delay.", examples=["1m"])
    retry_jitter: float | None = _option(
        0.0, "Share of each delay that is random, from 0 to 1.", ge=0, le=1, examples=[0.2]
    )
    retry_on: Annotated[tuple[ExceptionName, ...], AfterValidator(_not_empty)] | None = Field(
        default=None,
        description='The only exceptions that are retried, as "package.module:Class" or the name '
        "of a built-in one. By default all are.",
        examples=[["TimeoutError", "shop.orders:Unavailable"]],
    )
    never_retry: tuple[ExceptionName, ...] | None = Field(
        default=None,
        description="Exceptions that are not retried, named as in retry_on.",
        examples=[["ValueError"]],
    )
    attempt_timeout: PositiveSeconds | None = Field(
        default=None,
        description="Time limit of one attempt: the handler is cancelled then, and the attempt "
        "has failed. For `async def` handlers only. By default there is no limit.",
        examples=["10s"],
    )
    dead_letter_topic: TopicName | None = Field(
        default=None,
        description="Topic that gets a copy of each message that has failed for good.",
        examples=["orders-dead"],
    )
    dead_letter_limit: float | None = _option(
        0.5,
        "Largest share of dead letters among the last 100 messages: the worker stops when there "
        "are more. 1: no limit.",
        ge=0,
        le=1,
        examples=[0.5],
    )
    max_concurrent: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Number of handlers that run at the same time in each worker. By default 10 "
        "if the handler is `async def`, else 1.",
        examples=[10],
    )
    ordering: Literal["partition", "key", "unordered"] | None = Field(
        default=None,
        description='What is handled in its order: the messages of each partition ("partition"), '
        'those of each key ("key"), or nothing ("unordered"). By default "key" if the handler is '
        '`async def`, else "partition".',
    )
    batch_size: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Largest number of messages in a batch. With it the handler gets lists of "
        "messages.",
        examples=[100],
    )
    batch_timeout: Seconds | None = _option(
        0.1, "Time that a smaller batch waits for more messages.", examples=["100ms"]
    )
    tombstone_handler: Reference | None = Field(
        default=None,
        description="Function that is called with the context of each record without a value.",
    )
    header_filter: Reference | None = Field(
        default=None,
        description="Function that is called with the headers of each record. The record is "
        "skipped if it returns something false.",
    )
    start_from: StartFrom | None = Field(
        default=None,
        description='Where a group begins that has committed nothing: "earliest", "latest", a '
        "timestamp with time zone, an offset, or a table of offsets by partition. By default the "
        "profile says where.",
        examples=["earliest"],
    )
    on_failure: Literal["skip", "stop"] | None = Field(
        default=None,
        description="What happens to a message that has failed for good, if there is neither a "
        'dead-letter topic nor an error handler: "skip" (default of before_processing) or "stop" '
        "(default of after_processing).",
    )
    commit_interval: PositiveSeconds | None = _option(
        1.0,
        "Time between two commits of after_processing: a crash repeats what was handled since "
        "the last one.",
        examples=["1s"],
    )
    commit_ahead: Seconds | None = _option(
        0.1,
        "Amount of work that before_processing commits before it starts, and that a crash may "
        "lose. 0: one message at a time.",
        examples=["100ms"],
    )
    poll_timeout: PositiveSeconds | None = _option(1.0, "Longest wait of a poll.", examples=["1s"])
    drain_timeout: PositiveSeconds | None = Field(
        default=None,
        description="Time that a worker gets to finish its handlers when it is stopped. By "
        "default that of [supervisor].",
        examples=["30s"],
    )
    silence_timeout: Seconds = Field(
        default=30.0,
        description="Time without a heartbeat, which a worker sends once a second, after which it "
        "is replaced; at least five minutes before its first assignment. 0: no limit.",
        examples=["30s"],
    )
    handler_timeout: Seconds = Field(
        default=0.0,
        description="Time that a handler may take for one record before its worker is replaced. "
        "0: no limit; but after max_poll_interval_ms the worker leaves its group.",
        examples=["5m"],
    )
    stall_timeout: Seconds = Field(
        default=300.0,
        description="Time without progress on a partition, with records to handle and none of "
        "them in a handler, after which its worker is replaced. 0: no limit.",
        examples=["5m"],
    )
    dump_delay: Seconds = Field(
        default=1.0,
        description="Time that a hung worker gets to log its stacks before it is drained.",
        examples=["1s"],
    )
    max_lifetime: Seconds = Field(
        default=0.0,
        description="Age at which a worker is replaced, one worker at a time. 0: no limit.",
        examples=["24h"],
    )
    max_messages: Annotated[Whole, Field(ge=0)] = Field(
        default=0,
        description="Number of records after which a worker is replaced, one worker at a time. 0: "
        "no limit.",
        examples=[1_000_000],
    )
    max_rss: Size = Field(
        default=0,
        description="Resident memory, pages shared with other processes included, at which a "
        "worker is replaced, one worker at a time. 0: no limit.",
        examples=["512MB"],
    )
    recycle_jitter: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Largest share by which a worker's own limits max_lifetime, max_messages and "
        "max_rss are lowered at random, so that not all workers reach them at once.",
    )
    tracing: TracingChoice | None = _option(
        False,
        "Trace what is handled and sent with OpenTelemetry. true: its SDK is set up from the "
        'OTEL_* variables. "package.module:name": this flowodm.tracing.Tracing is used, whose '
        "module sets the SDK up.",
        examples=[True],
    )
    restart: RestartTable = Field(
        default_factory=RestartTable, description="How a worker is restarted after it ended."
    )
    kafka: KafkaTable = Field(
        default_factory=KafkaTable,
        description="What differs from [kafka] for this consumer's workers.",
    )

    _silence_timeout = field_validator("silence_timeout")(rules.check_silence_timeout)
    _needed = field_validator(*rules.NEEDS)(rules.check_needed)
    _batch_size = field_validator("batch_size")(rules.check_batch_size)
    _never_retry = field_validator("never_retry")(rules.check_never_retry)
    _retry_max_delay = field_validator("retry_max_delay")(rules.check_retry_max_delay)
    _start_from = field_validator("start_from")(rules.check_start_from)
    _partition_groups = field_validator("partition_groups")(rules.check_partition_groups)
    _per_worker = field_validator("partitions_per_worker")(rules.check_partitions_per_worker)

    def effective(self, key: str) -> Any:
        """Return the value of a key, or the loop's default if the key is not written."""
        value = getattr(self, key)
        return loop_default(key) if value is None else value

    @property
    def pinned(self) -> str | None:
        """The key that pins the partitions; None if the group assigns them."""
        return next((key for key in PINNED if getattr(self, key) is not None), None)

    def slots(self, count: int | None = None) -> tuple[tuple[int, ...] | None, ...]:
        """Return for each worker its pinned partitions, or None if the group assigns them.

        Args:
            count: Number of the topic's partitions; None if it is not known yet. Then one
                worker, which has no partition and counts them, stands for partitions_per_worker.
        """
        if self.partition_groups is not None:
            return self.partition_groups
        if (size := self.partitions_per_worker) is not None:
            numbers = range(count or 0)
            return tuple(tuple(numbers[at : at + size]) for at in numbers[::size]) or ((),)
        return (None,) * (self.workers or 1)

    def limits(self) -> Limits:
        """Return how long a worker may do what before it counts as hung."""
        return Limits(self.silence_timeout, self.handler_timeout, self.stall_timeout)

    def lifespan(self) -> Lifespan:
        """Return the age, number of records and memory at which a worker is replaced."""
        return Lifespan(
            self.max_lifetime, self.max_messages, self.max_rss, jitter=self.recycle_jitter
        )

    def loop_options(self) -> dict[str, Any]:
        """Return the loop's arguments that are written, by name."""
        return self.model_dump(exclude=set(NOT_THE_LOOPS), exclude_none=True, mode="json")


def loop_default(key: str) -> Any:
    """Return the default that the loop has for a key; None if it has none, or depends on others."""
    extra = ConsumerTable.model_fields[key].json_schema_extra
    return extra.get("default") if isinstance(extra, dict) else None
