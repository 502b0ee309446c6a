"""[consumers.NAME]: what its workers run, how many there are, and when they are replaced."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from supervisor.config import consumer_rules as rules
from supervisor.config.kafka import KafkaTable
from supervisor.config.profiles import PROFILES, ProfileName
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
)
from supervisor.slot.hang import Limits
from supervisor.slot.recycling import Lifespan

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

    Each worker runs a loop: flowodm's ConsumerLoop, or AsyncConsumerLoop if the handler is `async
    def`. A key that is None unless it is written is the loop's argument of the same name.
    """

    model: Reference = Field(
        description="The class of the messages; its inner class `Settings` names the topic and "
        "the group.",
        examples=["shop.orders:OrderEvent"],
    )
    handler: Reference = Field(
        description="The loop calls it with each message, or with (message, context) if it takes "
        "both. If it raises, that attempt at the message has failed. An `async def` function runs "
        "in an AsyncConsumerLoop.",
        examples=["shop.orders:process_order"],
    )
    error_handler: Reference | None = Field(
        default=None,
        description="The loop calls it with (error, Kafka message, message or None) after the "
        "last attempt. If it returns, the message is settled; if it raises, the loop stops.",
    )
    on_startup: Reference | None = Field(
        default=None, description="The loop calls it before it joins its group."
    )
    on_shutdown: Reference | None = Field(
        default=None,
        description="The loop calls it after the last commit and before it closes the consumer, "
        "also if `on_startup` raised.",
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
    settings: ProfileName | None = _option(
        "long_running",
        f"The settings profile: time-outs and fetch sizes. One of {', '.join(PROFILES)}, or your "
        'own as "package.module:name".',
        examples=["long_running"],
    )
    group_id: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="The consumer group. By default `consumer_group` of the model."
    )
    commit_strategy: Literal["before_processing", "after_processing"] | None = _option(
        "before_processing",
        '"before_processing": the broker confirms the commit before the handler '
        'starts (at most once). "after_processing": the loop commits what is settled (at least '
        "once).",
    )
    max_retries: Annotated[Whole, Field(ge=0)] | None = _option(
        0, "Further attempts after a failed one."
    )
    retry_delay: Seconds | None = _option(
        1.0,
        "Time between two attempts. Other partitions go on meanwhile.",
        examples=["1s"],
    )
    retry_backoff: float | None = _option(
        1.0,
        "Each further delay is this many times the one before.",
        ge=1,
        allow_inf_nan=False,
        examples=[2.0],
    )
    retry_max_delay: Seconds | None = _option(
        60.0, "The longest delay between two attempts.", examples=["1m"]
    )
    retry_jitter: float | None = _option(
        0.0,
        "The loop shortens each delay at random, by this share of it at most.",
        ge=0,
        le=1,
        examples=[0.2],
    )
    retry_on: Annotated[tuple[ExceptionName, ...], AfterValidator(_not_empty)] | None = Field(
        default=None,
        description="The only exceptions after which there is another attempt. By default all "
        'exceptions. Each is "package.module:Class" or the name of a built-in one.',
        examples=[["TimeoutError", "shop.orders:Unavailable"]],
    )
    never_retry: tuple[ExceptionName, ...] | None = Field(
        default=None,
        description="Exceptions after which there is no other attempt. Named as in retry_on.",
        examples=[["ValueError"]],
    )
    attempt_timeout: PositiveSeconds | None = Field(
        default=None,
        description="Time for one attempt. Then the handler is cancelled, and the attempt has "
        "failed. For `async def` handlers only. By default there is no limit.",
        examples=["10s"],
    )
    dead_letter_topic: TopicName | None = Field(
        default=None,
        description="The topic that gets a copy of each message that failed for good: its bytes, "
        "key and headers. The loop commits the offset when the broker has acknowledged the copy, "
        "and calls the error handler after that. If the copy cannot be delivered, the loop stops.",
        examples=["orders-dead"],
    )
    dead_letter_limit: float | None = _option(
        0.5,
        "The loop stops when more than this share of the last 100 messages were dead "
        "letters, so that a broken handler does not move a whole topic. 1: no limit.",
        ge=0,
        le=1,
        examples=[0.5],
    )
    max_concurrent: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Handlers that run at the same time. ConsumerLoop runs more than one in "
        "threads, AsyncConsumerLoop in tasks. In each worker; by default 10 if the handler is "
        "`async def`, else 1.",
        examples=[10],
    )
    ordering: Literal["partition", "key", "unordered"] | None = Field(
        default=None,
        description='The loop handles one after the other the messages of each "partition", those '
        'of each "key" (messages without a key in any order), or none ("unordered"). With '
        '`batch_size` it is "partition" by default, and may not be "key". Without it the default '
        'is "key" if the handler is `async def`, else "partition".',
    )
    batch_size: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="The handler gets lists of up to this many messages, each list from one "
        "partition.",
        examples=[100],
    )
    batch_timeout: Seconds | None = _option(
        0.1, "How long a smaller batch waits for more messages.", examples=["100ms"]
    )
    tombstone_handler: Reference | None = Field(
        default=None,
        description="The loop calls it with the context of each record that has no value. Without "
        "it, the loop counts such a record and passes over it.",
    )
    header_filter: Reference | None = Field(
        default=None,
        description="The loop calls it with the headers of each record as a dict, before it "
        "decodes the record. If it returns something false, the loop counts the record as "
        "filtered and passes over it.",
    )
    start_from: StartFrom | None = Field(
        default=None,
        description="Where the group starts in a partition for which it has committed nothing: "
        '"earliest", "latest", a timestamp with a time zone, an offset, or a table of offsets by '
        "partition. By default `auto_offset_reset` of the profile.",
        examples=["earliest"],
    )
    on_failure: Literal["skip", "stop"] | None = Field(
        default=None,
        description="What follows when a message has failed for good and there is neither a "
        'dead-letter topic nor an error handler. "skip": the loop logs an error, counts the '
        'message and goes on. "stop": the worker ends, and the offset is not committed. By '
        'default "stop" with "after_processing", "skip" with "before_processing".',
    )
    commit_interval: PositiveSeconds | None = _option(
        1.0,
        'Time between two commits with "after_processing", which is what a crash may '
        "repeat. An idle loop, a revoked partition and the end of the loop commit at once.",
        examples=["1s"],
    )
    commit_ahead: Seconds | None = _option(
        0.1,
        'How much work "before_processing" may commit before it starts, which is what '
        "a crash may lose. 0: one message at a time.",
        examples=["100ms"],
    )
    poll_timeout: PositiveSeconds | None = _option(
        1.0,
        "The longest time of one poll. The loop sees a stop within 0.1 s anyway.",
        examples=["1s"],
    )
    drain_timeout: PositiveSeconds | None = Field(
        default=None,
        description="How long running handlers may take to finish after a stop, or when their "
        "partition is revoked. By default as [supervisor] says.",
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
