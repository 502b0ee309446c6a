"""One slot of the fleet: its state, its current process, and what that process reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from supervisor.fleet.slot_spec import SlotKey
from supervisor.slot.dead_members import DeadMembers
from supervisor.slot.events import HeartbeatReceived

if TYPE_CHECKING:
    from supervisor.fleet.outcomes import SlotOutcome, WorkerFailure
    from supervisor.process.worker_process import WorkerProcess
    from supervisor.protocol import Heartbeat, Start
    from supervisor.slot.machine import Slot, SlotPolicy
    from supervisor.slot.restart import ExitClass


@dataclass
class Member:
    """A slot of a consumer, with all the processes that it has one after the other.

    Attributes:
        consumer: The consumer's name.
        index: The slot's number within the consumer.
        start: The Start frame of its next processes.
        policy: Its time-outs and restart policy.
        slot: The state machine's state.
        running: The Start frame that the current process got; None before it got one.
        spawned: How many processes it has had.
        retired: Whether it is removed from the fleet once it has ended.
        paused: Whether its workers are to fetch nothing.
        process: The current process, or None.
        pid: The current process's pid once it is known, or None.
        heartbeat: The current process's latest heartbeat.
        heard_at: When that came (monotonic seconds).
        joined_at: When its first heartbeat with an assignment came, even an empty one.
        processed_before: Records settled by this slot's earlier processes.
        restarts: Number of restarts by reason.
        complaint: The problem of the current process, in words; "" if none is known.
        last_failure: The latest failure of one of its workers.
        outcome: How it ended for good; None while it has not.
        dead_members: Members of its dead processes that may still be in the consumer group.
        partition_count: How many partitions its topic has, by the current process; None if that
            does not count them.
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
    last_failure: WorkerFailure | None = None
    outcome: SlotOutcome | None = None
    dead_members: DeadMembers = field(default_factory=DeadMembers)
    partition_count: int | None = None

    @property
    def key(self) -> SlotKey:
        """The name of the slot, unique in the fleet."""
        return SlotKey(self.consumer, self.index)

    @property
    def fields(self) -> dict[str, object]:
        """The fields of a log line about it."""
        return {"consumer": self.consumer, "slot": self.index, "pid": self.pid}

    @property
    def processed(self) -> int:
        """Records settled by all its processes so far."""
        return self.processed_before + (self.heartbeat.processed if self.heartbeat else 0)

    @property
    def rejoins(self) -> bool:
        """Whether every start and end of its process makes its whole group rejoin."""
        consumer = self.start.consumer
        options = {**self.start.kafka.get("options", {})}
        kip848 = str(options.get("group.protocol", "classic")).lower() == "consumer"
        return not (kip848 or "partitions" in consumer or "group_instance_id" in consumer)

    @property
    def left(self) -> int:
        """Records fetched and not finished, by the latest heartbeat."""
        return self.heartbeat.buffered if self.heartbeat else 0

    def silence(self, now: float) -> float | None:
        """Return the seconds since the latest heartbeat; None if there was none."""
        heard_at = self.heard_at  # read once: /status may call this from another thread
        return None if heard_at is None else max(0.0, now - heard_at)

    def beat(self, heartbeat: Heartbeat, now: float) -> HeartbeatReceived:
        """Store a heartbeat, and return the state machine's event for it."""
        self.heard_at = now
        before = self.heartbeat.processed if self.heartbeat else 0
        self.heartbeat = heartbeat
        if heartbeat.joined:
            self.joined_at = self.joined_at or now
            self.dead_members = self.dead_members.succeeded()
        busy = heartbeat.in_flight > 0 or heartbeat.processed > before
        return HeartbeatReceived(joined=heartbeat.joined, busy=busy)

    def process_exited(self, status: int | None) -> None:
        """Note that its process is dead: its group member may be evicted."""
        member_id = self.heartbeat.member_id if self.heartbeat else None
        self.dead_members = self.dead_members.after(member_id, status)

    def reset_process(self) -> None:
        """Clear the per-process fields; keep the totals."""
        self.processed_before = self.processed
        self.process = self.pid = self.heartbeat = self.heard_at = self.running = None
        self.partition_count = self.joined_at = None
        self.complaint = ""
