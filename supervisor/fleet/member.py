"""One slot of the fleet as the daemon knows it: its state, its process, what it reported."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from supervisor import redaction
from supervisor.fleet.wanted import SlotKey, SlotSpec
from supervisor.protocol import Heartbeat, Identity, Logging, Start
from supervisor.slot.dead_members import DeadMembers
from supervisor.slot.events import HeartbeatReceived
from supervisor.slot.machine import SlotPolicy
from supervisor.slot.restart import ExitClass, ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervisor.config.config import SupervisorConfig
    from supervisor.config.consumer import ConsumerTable
    from supervisor.config.topic_size import TopicSize
    from supervisor.process.worker_process import WorkerProcess
    from supervisor.slot.machine import Slot


@dataclass(frozen=True, slots=True)
class Failure:
    """The latest bad end of a slot's worker.

    Attributes:
        reason: Its class.
        message: What happened, as the worker or its exit status says.
        at: When, in seconds since the epoch; for people, never for deadlines.
    """

    reason: ExitClass
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How a slot's last worker ended: a line of the drain report.

    Attributes:
        consumer: The consumer's name.
        slot: The slot's number.
        pid: The last worker's process; None if none ever ran.
        reason: Why it ended.
        seconds: From the request to end until the end; 0 if nobody asked.
        left: Records that it had fetched and did not finish, as of its last heartbeat.
        killed: Whether it took SIGKILL.
        failed: Whether the slot had failed for good while it was wanted.
    """

    consumer: str
    slot: int
    pid: int | None
    reason: ExitClass
    seconds: float
    left: int
    killed: bool
    failed: bool

    @property
    def clean(self) -> bool:
        """Whether it ended as it should."""
        return self.reason is ExitClass.DONE and not self.killed and not self.failed


@dataclass
class Member:
    """A slot of a consumer, over all the processes that it has.

    Attributes:
        consumer: The consumer's name.
        index: The slot's number within the consumer.
        start: What its workers are told to run.
        policy: Its time-outs and restart policy.
        slot: The state machine's state.
        running: What the current process was told, where that is another `start`.
        spawned: How many processes it has had.
        retired: It is not wanted any more, and forgotten once it has ended.
        paused: Its workers are to fetch nothing.
        process: The current process, or None.
        pid: The current process's pid once it is known, or None.
        heartbeat: The current process's latest.
        heard_at: When that came (monotonic seconds).
        joined_at: When its first came that says it has an assignment, be it empty.
        processed_before: Records settled by this slot's earlier processes.
        restarts: How often it was restarted, by reason.
        complaint: What the current process said is wrong with it.
        last_failure: The latest bad end.
        ended: How it ended for good; None while it has not.
        departed: What its dead processes may have left behind in their group.
        counted: How many partitions its topic has, by the current process; None if it does not
            count them.
    """

    consumer: str
    index: int
    start: Start
    policy: SlotPolicy
    slot: Slot
    running: Start | None = None
    spawned: int = 0
    retired: bool = False
    paused: bool = False
    process: WorkerProcess | None = None
    pid: int | None = None
    heartbeat: Heartbeat | None = None
    heard_at: float | None = None
    joined_at: float | None = None
    processed_before: int = 0
    restarts: Counter[ExitClass] = field(default_factory=Counter)
    complaint: str = ""
    last_failure: Failure | None = None
    ended: Ended | None = None
    departed: DeadMembers = field(default_factory=DeadMembers)
    counted: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Consumer and number: what tells it from the others."""
        return self.consumer, self.index

    @property
    def name(self) -> SlotKey:
        """The same as plans have it."""
        return SlotKey(self.consumer, self.index)

    @property
    def fields(self) -> dict[str, object]:
        """What a log line about it carries."""
        return {"consumer": self.consumer, "slot": self.index, "pid": self.pid}

    @property
    def processed(self) -> int:
        """Records settled by all its processes so far."""
        return self.processed_before + (self.heartbeat.processed if self.heartbeat else 0)

    @property
    def rejoins(self) -> bool:
        """Whether every start and end of its process makes its whole group join again."""
        mine = self.start.consumer
        options = {**self.start.kafka.get("options", {})}
        kip848 = str(options.get("group.protocol", "classic")).lower() == "consumer"
        return not (kip848 or "partitions" in mine or "group_instance_id" in mine)

    @property
    def left(self) -> int:
        """Records fetched and not finished, as of the latest heartbeat."""
        return self.heartbeat.buffered if self.heartbeat else 0

    def silence(self, now: float) -> float | None:
        """Seconds since the current process's latest heartbeat; None if there was none."""
        heard_at = self.heard_at  # once: /status may ask from another thread
        return None if heard_at is None else max(0.0, now - heard_at)

    def beat(self, heartbeat: Heartbeat, now: float) -> HeartbeatReceived:
        """Take a heartbeat, and say what it means to the state machine."""
        self.heard_at = now
        before = self.heartbeat.processed if self.heartbeat else 0
        self.heartbeat = heartbeat
        if heartbeat.joined:
            self.joined_at = self.joined_at or now
            self.departed = self.departed.succeeded()
        busy = heartbeat.in_flight > 0 or heartbeat.processed > before
        return HeartbeatReceived(joined=heartbeat.joined, busy=busy)

    def died(self, status: int | None) -> None:
        """Its process is dead, beyond doubt: what it was in its group may be evicted."""
        member_id = self.heartbeat.member_id if self.heartbeat else None
        self.departed = self.departed.after(member_id, status)

    def lay_down(self) -> None:
        """Forget the process, but not what it did."""
        self.processed_before = self.processed
        self.process = self.pid = self.heartbeat = self.heard_at = self.running = None
        self.counted = self.joined_at = None
        self.complaint = ""


def explain(status: int | None, *, killed: bool = False, out_of_memory: bool = False) -> str:
    """An exit status in words.

    Args:
        status: As in `supervisor.slot.restart.classify`.
        killed: The supervisor had sent SIGKILL.
        out_of_memory: The kernel has just killed for want of memory.
    """
    if out_of_memory:
        return (
            "killed by the kernel, which had no memory left for it: give the fleet more, or set "
            "max_rss to recycle workers in time"
        )
    if killed and status in {None, -signal.SIGKILL}:
        return "killed by the supervisor"
    if status is None:
        return "nobody could tell its exit status: the fork server was dead"
    if status == -signal.SIGKILL:
        return "ended by SIGKILL, which this supervisor did not send"
    if status < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"ended by {known.get(-status, f'signal {-status}')}"
    names = {code.value: f" ({code.name.lower()})" for code in ExitCode}
    return f"exit code {status}{names.get(status, '')}"


def slots_of(
    config: SupervisorConfig,
    instance_id: str,
    logging: Logging,
    scaled: Mapping[str, int] | None = None,
    sizes: Mapping[str, TopicSize] | None = None,
) -> dict[SlotKey, SlotSpec]:
    """Every slot that a configuration asks for, and what it is to run.

    Args:
        config: The configuration.
        instance_id: The supervisor's name.
        logging: How workers log.
        scaled: Consumers that have another number of workers than the configuration says.
        sizes: By consumer what is known of its topic, where partitions are pinned by size.
    """
    known = sizes or {}
    return {
        SlotKey(name, index): SlotSpec(
            start_frame(
                config, Identity(instance_id, name, index), partitions, logging, known.get(name)
            ),
            SlotPolicy(
                restart=table.restart.restart_policy(),
                drain_timeout=config.drain_timeout_of(name),
                kill_delay=config.supervisor.kill_delay,
                dump_delay=table.dump_delay,
                limits=table.limits(),
                lifespan=table.lifespan(),
            ),
        )
        for name, table in config.consumers.items()
        for index, partitions in enumerate(
            _groups(table, (scaled or {}).get(name), known.get(name))
        )
    }


def _groups(
    table: ConsumerTable, workers: int | None, size: TopicSize | None
) -> Sequence[tuple[int, ...] | None]:
    if workers is not None:
        return [None] * workers
    return table.slots(None if size is None else size.partitions)


def members_of(
    config: SupervisorConfig, instance_id: str, logging: Logging, slot: Slot
) -> list[Member]:
    """The same as members of a fleet, each slot in the given state."""
    wanted = slots_of(config, instance_id, logging)
    return [
        Member(key.consumer, key.index, what.start, what.policy, slot)
        for key, what in wanted.items()
    ]


def start_frame(
    config: SupervisorConfig,
    identity: Identity,
    partitions: tuple[int, ...] | None,
    logging: Logging,
    size: TopicSize | None = None,
) -> Start:
    """What a worker is told to run."""
    table = config.consumers[identity.consumer]
    drain_timeout = config.drain_timeout_of(identity.consumer)
    consumer = {**table.loop_options(), "drain_timeout": drain_timeout}
    if partitions is not None:
        consumer["partitions"] = list(partitions)
        begin = consumer.get("start_from")
        if size is not None and (begin := size.begin(begin, partitions)) is not None:
            consumer["start_from"] = begin
    elif table.membership == "static":
        consumer["group_instance_id"] = identity.member
    return Start(
        identity=identity,
        consumer=consumer,
        kafka=config.kafka_of(identity.consumer).revealed(),
        secrets=[*config.secrets(), *redaction.of_environment(os.environ)],
        logging=logging,
        drain_timeout=drain_timeout,
        partitions_per_worker=table.partitions_per_worker if identity.slot == 0 else None,
    )
