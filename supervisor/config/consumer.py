"""What [consumers.NAME] may say: the loop's arguments, and how many workers run it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from supervisor.config.kafka import KafkaTable
from supervisor.config.values import (
    ExceptionName,
    PositiveSeconds,
    Reference,
    Seconds,
    Size,
    StartFrom,
    StartPosition,
    Table,
    TopicName,
    Whole,
    is_reference,
)
from supervisor.slot.hang import Limits
from supervisor.slot.recycling import Lifespan
from supervisor.slot.restart import RestartMode, RestartPolicy

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
"""The keys of a consumer that say when a worker has done enough."""
NOT_THE_LOOPS = WATCHED | RECYCLED
PINNED = ("partition_groups", "partitions_per_worker")
"""The keys of a consumer that pin its partitions, each instead of the other and of workers."""
NOT_THE_LOOPS |= {"workers", *PINNED, "membership", "restart", "kafka"}
"""The keys of a consumer that are the supervisor's; all others are the loops' arguments."""
NEEDS = {
    "retry_delay": "max_retries",
    "retry_backoff": "max_retries",
    "retry_max_delay": "retry_backoff",
    "retry_jitter": "max_retries",
    "retry_on": "max_retries",
    "never_retry": "max_retries",
    "dead_letter_limit": "dead_letter_topic",
    "batch_timeout": "batch_size",
}
"""Keys that have no effect alone, and the key that each of them needs."""


MOST_WORKERS = 1000
"""Workers of one consumer."""
SHORTEST_SILENCE = 2.0
"""Seconds; a shorter silence is none."""


def _profile(value: str) -> str:
    if value in PROFILES or is_reference(value):
        return value
    names = ", ".join(f'"{name}"' for name in PROFILES)
    raise PydanticCustomError(
        "profile", "is no settings profile", {"hint": f'write {names}, or "module:name"'}
    )


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        hint = "name the errors to try again, or remove it for all; max_retries = 0 is for none"
        raise PydanticCustomError("empty", "names no error", {"hint": hint})
    return value


class RestartTable(Table):
    """[consumers.NAME.restart]: see `supervisor.slot.restart.RestartPolicy` for the meanings."""

    policy: RestartMode = RestartMode.ALWAYS
    initial: PositiveSeconds = Field(default=0.1, examples=["100ms"])
    factor: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    cap: PositiveSeconds = Field(default=30.0, examples=["30s"])
    jitter: float = Field(default=0.2, ge=0, le=1)
    limit: Annotated[Whole, Field(ge=0)] = 10
    window: PositiveSeconds = Field(default=300.0, examples=["5m"])
    stable: PositiveSeconds = Field(default=60.0, examples=["1m"])

    @field_validator("cap")
    @classmethod
    def _cap(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("initial", value):
            raise PydanticCustomError(
                "cap", "is shorter than initial", {"hint": "write the longest delay here"}
            )
        return value

    def restart_policy(self) -> RestartPolicy:
        """The same as the restart decision takes it."""
        values = self.model_dump(exclude={"policy"})
        return RestartPolicy(mode=self.policy, **values)


class ConsumerTable(Table):
    """[consumers.NAME]: one consumer and its workers.

    Options that are None keep the default of flowodm's ConsumerLoop or AsyncConsumerLoop,
    whose arguments of the same names they are.

    Attributes:
        model: The FlowBaseModel subclass.
        handler: The function that gets each message; `async def` runs an AsyncConsumerLoop.
        error_handler: Called with (error, raw message, message or none) after the last attempt;
            its return settles the message.
        on_startup: Called in each worker before it joins the group.
        on_shutdown: Called in each worker after its last commit.
        workers: Worker processes that share the topic as members of the consumer group; 1 by
            default.
        partition_groups: Instead of workers: one worker for each list, which holds exactly
            these partitions and no group membership.
        partitions_per_worker: Instead of workers: as many workers as the topic needs if each
            holds so many partitions, without group membership. When the topic grows, so does
            their number, and the new partitions are read from their beginning.
        membership: "static" gives each worker its own group.instance.id (KIP-345), so that a
            restart moves no partitions; "dynamic" gives none.
        settings: A profile ("long_running", the default, "batch", …) or
            "package.module:settings".
        group_id: The consumer group, instead of the model's.
        commit_strategy: "before_processing" (the default; at most once) or "after_processing"
            (at least once).
        max_retries: Further attempts after a failed one; 0 by default.
        retry_delay: Time between attempts, 1 s by default; other partitions go on meanwhile.
        retry_backoff: Each further delay is this many times the one before; 1 by default.
        retry_max_delay: The longest delay; 60 s by default.
        retry_jitter: The share of a delay that is left to chance, 0 (default) to 1.
        retry_on: The only exceptions that are retried, as "package.module:Class" or a built-in
            one's name; all by default.
        never_retry: Exceptions that are not retried.
        attempt_timeout: Time for one attempt, after which the handler is cancelled and has
            failed; none by default. For `async def` only.
        dead_letter_topic: Where a copy of each message goes that failed for good.
        dead_letter_limit: The worker stops when more than this share of the last 100 messages
            were dead letters; 0.5 by default, 1 sets no limit.
        max_concurrent: Handlers at the same time in each worker; 10 for `async def`, else 1.
        ordering: "partition": the messages of a partition one after the other; "key": those of
            a key; "unordered". By default "key" for `async def`, else "partition".
        batch_size: The handler takes lists of up to so many messages.
        batch_timeout: Time that a smaller batch waits for more messages; 100 ms by default.
        tombstone_handler: Called with the context of a record without a value.
        header_filter: Called with a record's headers; where it returns something false, the
            record is passed over.
        start_from: Where a group begins that has committed nothing: "earliest", "latest", a
            time with its zone, an offset, or a table of offsets by partition.
        on_failure: What becomes of a message that failed for good and that nobody takes: "skip"
            (default of before_processing) or "stop" (default of after_processing).
        commit_interval: Time between commits of after_processing, which is what a crash may
            repeat; 1 s by default.
        commit_ahead: Work that before_processing may commit before it starts, which is what a
            crash may lose; 100 ms by default, 0 for one message at a time.
        poll_timeout: The longest of one poll; 1 s by default.
        drain_timeout: Time that handlers get to finish at a stop; supervisor.drain_timeout by
            default.
        silence_timeout: How long a worker may send no heartbeat, of which there is one a second,
            before it is replaced; five minutes at least until its first assignment. 0: for ever.
        handler_timeout: How long a handler may be at one record before its worker is replaced.
            0: for ever; but past max_poll_interval_ms the worker leaves its group.
        stall_timeout: How long a partition may stand still, although there is more to handle
            and nothing of it is in hand, before its worker is replaced. 0: for ever.
        dump_delay: How long a worker that hangs gets to log its stacks, before it is drained.
        max_lifetime: Age at which a worker is replaced, one at a time. 0: never.
        max_messages: Records after which a worker is replaced, one at a time. 0: never.
        max_rss: Memory at which a worker is replaced, one at a time, with what it shares with
            others. 0: never.
        tracing: Trace what is handled and sent, with OpenTelemetry: true sets its SDK up by the
            OTEL_* variables; "package.module:name" is a flowodm.tracing.Tracing whose module
            does that. False by default.
        recycle_jitter: The share by which each worker's own limits of these are smaller at most,
            so that not all are due together.
        restart: What follows when a worker ends.
        kafka: What is different from [kafka] for this consumer's workers.
    """

    model: Reference = Field(examples=["shop.orders:OrderEvent"])
    handler: Reference = Field(examples=["shop.orders:process_order"])
    error_handler: Reference | None = None
    on_startup: Reference | None = None
    on_shutdown: Reference | None = None
    workers: Annotated[Whole, Field(ge=1, le=MOST_WORKERS)] | None = Field(
        default=None, examples=[4]
    )
    partition_groups: tuple[tuple[Annotated[Whole, Field(ge=0)], ...], ...] | None = Field(
        default=None, examples=[[[0, 1], [2, 3]]]
    )
    partitions_per_worker: Annotated[Whole, Field(ge=1)] | None = Field(default=None, examples=[2])
    membership: Literal["static", "dynamic"] = "static"
    settings: Annotated[str, AfterValidator(_profile)] | None = Field(
        default=None, examples=["long_running"]
    )
    group_id: Annotated[str, Field(min_length=1)] | None = None
    commit_strategy: Literal["before_processing", "after_processing"] | None = None
    max_retries: Annotated[Whole, Field(ge=0)] | None = None
    retry_delay: Seconds | None = Field(default=None, examples=["1s"])
    retry_backoff: float | None = Field(default=None, ge=1, allow_inf_nan=False, examples=[2.0])
    retry_max_delay: Seconds | None = Field(default=None, examples=["1m"])
    retry_jitter: float | None = Field(default=None, ge=0, le=1, examples=[0.2])
    retry_on: Annotated[tuple[ExceptionName, ...], AfterValidator(_not_empty)] | None = Field(
        default=None, examples=[["TimeoutError", "shop.orders:Unavailable"]]
    )
    never_retry: tuple[ExceptionName, ...] | None = Field(default=None, examples=[["ValueError"]])
    attempt_timeout: PositiveSeconds | None = Field(default=None, examples=["10s"])
    dead_letter_topic: TopicName | None = Field(default=None, examples=["orders-dead"])
    dead_letter_limit: float | None = Field(default=None, ge=0, le=1, examples=[0.5])
    max_concurrent: Annotated[Whole, Field(ge=1)] | None = Field(default=None, examples=[10])
    ordering: Literal["partition", "key", "unordered"] | None = None
    batch_size: Annotated[Whole, Field(ge=1)] | None = Field(default=None, examples=[100])
    batch_timeout: Seconds | None = Field(default=None, examples=["100ms"])
    tombstone_handler: Reference | None = None
    header_filter: Reference | None = None
    start_from: StartFrom | None = Field(default=None, examples=["earliest"])
    on_failure: Literal["skip", "stop"] | None = None
    commit_interval: PositiveSeconds | None = Field(default=None, examples=["1s"])
    commit_ahead: Seconds | None = Field(default=None, examples=["100ms"])
    poll_timeout: PositiveSeconds | None = Field(default=None, examples=["1s"])
    drain_timeout: PositiveSeconds | None = Field(default=None, examples=["30s"])
    silence_timeout: Seconds = Field(default=30.0, examples=["30s"])
    handler_timeout: Seconds = Field(default=0.0, examples=["5m"])
    stall_timeout: Seconds = Field(default=300.0, examples=["5m"])
    dump_delay: Seconds = Field(default=1.0, examples=["1s"])
    max_lifetime: Seconds = Field(default=0.0, examples=["24h"])
    max_messages: Annotated[Whole, Field(ge=0)] = Field(default=0, examples=[1_000_000])
    max_rss: Size = Field(default=0, examples=["512MB"])
    recycle_jitter: float = Field(default=0.1, ge=0, le=1)
    tracing: bool | Reference | None = Field(default=None, examples=[True])
    restart: RestartTable = Field(default_factory=RestartTable)
    kafka: KafkaTable = Field(default_factory=KafkaTable)

    @field_validator("silence_timeout")
    @classmethod
    def _silence(cls, value: float) -> float:
        if 0 < value < SHORTEST_SILENCE:
            hint = f'write "{SHORTEST_SILENCE:g}s" or more; there is a heartbeat a second'
            raise PydanticCustomError("silence", "is too short", {"hint": hint})
        return value

    @field_validator(*NEEDS)
    @classmethod
    def _needed(cls, value: object, info: ValidationInfo) -> object:
        needed = NEEDS[str(info.field_name)]
        if value is not None and needed in info.data and info.data[needed] is None:
            raise PydanticCustomError(
                "without_effect",
                "has no effect without {needed}",
                {"needed": needed, "hint": f"write {needed} too, or remove this"},
            )
        return value

    @field_validator("batch_size")
    @classmethod
    def _batch_size(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("ordering") == "key":
            hint = 'write ordering = "partition" or "unordered": a batch has many keys'
            raise PydanticCustomError(
                "contradiction", 'contradicts ordering = "key"', {"hint": hint}
            )
        return value

    @field_validator("never_retry")
    @classmethod
    def _never_retry(
        cls, value: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        if both := sorted(set(value or ()) & set(info.data.get("retry_on") or ())):
            names = {"names": ", ".join(both), "hint": "keep each error in one of the two"}
            raise PydanticCustomError("contradiction", "contradicts retry_on: {names}", names)
        return value

    @field_validator("retry_max_delay")
    @classmethod
    def _retry_max_delay(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and value < (info.data.get("retry_delay") or 0):
            hint = "write the longest delay here"
            raise PydanticCustomError("cap", "is shorter than retry_delay", {"hint": hint})
        return value

    @field_validator("start_from")
    @classmethod
    def _start_from(cls, value: StartPosition | None, info: ValidationInfo) -> StartPosition | None:
        groups = info.data.get("partition_groups")
        if isinstance(value, dict) and groups is not None:
            pinned = {partition for group in groups for partition in group}
            if nobodys := sorted(value.keys() - pinned):
                names = ", ".join(map(str, nobodys))
                hint = "remove them, or add them to a group"
                raise PydanticCustomError(
                    "contradiction",
                    "names partitions that are in no group of partition_groups: {names}",
                    {"names": names, "hint": hint},
                )
        return value

    @field_validator("partition_groups")
    @classmethod
    def _groups(
        cls, value: tuple[tuple[int, ...], ...] | None, info: ValidationInfo
    ) -> tuple[tuple[int, ...], ...] | None:
        if value is None:
            return None
        if info.data.get("workers") is not None:
            raise PydanticCustomError(
                "contradiction",
                "contradicts workers",
                {
                    "hint": "keep workers for partitions that Kafka's group assigns, or "
                    "partition_groups for ones that you pin: a worker for each group"
                },
            )
        _check_groups(value)
        return value

    @field_validator("partitions_per_worker")
    @classmethod
    def _per_worker(cls, value: int | None, info: ValidationInfo) -> int | None:
        for other in ("workers", "partition_groups"):
            if value is not None and info.data.get(other) is not None:
                hint = "keep one of the two: each says how many workers there are"
                raise PydanticCustomError(
                    "contradiction", "contradicts {other}", {"other": other, "hint": hint}
                )
        return value

    @property
    def pinned(self) -> str | None:
        """The key that pins the partitions; None where the group assigns them."""
        return next((key for key in PINNED if getattr(self, key) is not None), None)

    def slots(self, count: int | None = None) -> tuple[tuple[int, ...] | None, ...]:
        """For each worker its pinned partitions, or None where the group assigns them.

        Args:
            count: How many partitions the topic has; None: not known yet. Then there is one
                worker if they are pinned by size, which has none and counts them.
        """
        if self.partition_groups is not None:
            return self.partition_groups
        if (size := self.partitions_per_worker) is not None:
            numbers = range(count or 0)
            return tuple(tuple(numbers[at : at + size]) for at in numbers[::size]) or ((),)
        return (None,) * (self.workers or 1)

    def limits(self) -> Limits:
        """What a worker may do for how long before it counts as hanging."""
        return Limits(self.silence_timeout, self.handler_timeout, self.stall_timeout)

    def lifespan(self) -> Lifespan:
        """How much a worker may become before it is replaced."""
        return Lifespan(self.max_lifetime, self.max_messages, self.max_rss, self.recycle_jitter)

    def loop_options(self) -> dict[str, Any]:
        """The arguments for the loop which are set, under the loop's own names."""
        return self.model_dump(exclude=set(NOT_THE_LOOPS), exclude_none=True, mode="json")


def _check_groups(groups: tuple[tuple[int, ...], ...]) -> None:
    if not groups or not all(groups):
        raise PydanticCustomError(
            "empty", "has an empty group", {"hint": "give each worker at least one partition"}
        )
    seen: set[int] = set()
    twice: list[int] = []
    for partition in (partition for group in groups for partition in group):
        (twice.append if partition in seen else seen.add)(partition)
    if twice:
        names = ", ".join(map(str, sorted(set(twice))))
        raise PydanticCustomError(
            "overlap",
            "gives a partition to two workers: {names}",
            {"names": names, "hint": "name each partition once"},
        )
