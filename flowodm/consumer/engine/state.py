"""What a loop has in hand, and what may be asked about it. Pure: a question changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowodm.consumer.engine.backpressure import Pressure
from flowodm.consumer.engine.commit import MOST_AHEAD, CommitAhead, CommitSchedule, CommitStrategy
from flowodm.consumer.engine.dead_letter_limit import DeadLetterLimit
from flowodm.consumer.engine.lanes import Ordering, ReadyLanes
from flowodm.consumer.engine.partition import Buffer, Partition
from flowodm.consumer.engine.reports import Reports
from flowodm.consumer.engine.retry_queue import ParkedRuns
from flowodm.consumer.engine.window import InHand, Intake, quotas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowodm.consumer.engine.rules import Rules
    from flowodm.consumer.engine.run import Run
    from flowodm.events import TP

#: How many fetches the buffer holds while handlers have nothing to do. What Kafka sends in one
#: answer is of one partition for thousands of records, and so of few keys: with the room of two
#: fetches one partition's keys would be worked off while all others wait.
IDLE_FETCHES = 20


class State:
    """All partitions of one loop, and everything that is under way.

    :class:`~flowodm.consumer.engine.engine.Engine` is what changes it.

    Args:
        rules: What the loop was told.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.stopping = False
        self.paused = False
        self.partitions: dict[TP, Partition] = {}
        self.schedule = CommitSchedule(rules.commit_interval)
        self.reports = Reports()
        self.processed = 0
        self._hands = rules.max_concurrent
        self._before = rules.strategy is CommitStrategy.BEFORE_PROCESSING
        self._ahead = CommitAhead(rules.commit_ahead, rules.max_concurrent, MOST_AHEAD)
        batch = rules.batch
        self._run_size = rules.fetch_size if batch is None else batch.size
        self._hands_full = rules.max_concurrent * (1 if batch is None else batch.size)
        self._refill = max(rules.fetch_size, 2 * self._hands_full)
        self._buffer = Buffer()
        self._ready = ReadyLanes(batch)
        self._active: dict[Run, None] = {}
        self._parked = ParkedRuns()
        self._letters = DeadLetterLimit(rules.dead_letter_limit)
        self._intake = Intake()
        self._pressure = Pressure(rules.fetch_wait)
        self._offered_at = 0.0
        self.looked_after_at = 0.0

    # ---- for the handlers' side ---------------------------------------------------------

    def next_due(self) -> float | None:
        """When the next wait ends, for a retry or for a batch, in monotonic seconds."""
        if self._held_back:
            return None
        retry = self._parked.next_due
        if self.rules.batch is None:
            return retry
        batch = self._ready.next_due()
        return batch if retry is None or (batch is not None and batch < retry) else retry

    def is_active(self, run: Run) -> bool:
        """Whether a run is with the handlers' side: not parked, not finished."""
        return run in self._active

    # ---- for the poller --------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """Fetched records that are not settled."""
        return self._buffer.records

    @property
    def in_flight(self) -> int:
        """Runs that a handler works on, those of partitions that are gone included."""
        return len(self._active)

    @property
    def waiting(self) -> int:
        """Records whose next attempt is waited for."""
        return len(self._parked)

    @property
    def idle(self) -> dict[TP, int]:
        """Position of each partition of which nothing is in hand, nor waits for a free hand."""
        leaving = any(partition.leaving for partition in self.partitions.values())
        if self.paused or self.stopping or leaving:  # a rebalance may wait long for handlers
            return {}
        busy = {run.partition for run in (*self._active, *self._parked)}
        waits = self.rules.batch is not None or len(self._active) >= self._hands
        return {
            tp: position
            for tp, partition in self.partitions.items()
            if partition not in busy
            and not (waits and partition.buffered)
            and (position := partition.position) is not None
        }

    @property
    def unfinished(self) -> int:
        """Records that handlers are at; before processing also those that wait for one."""
        if self._before:
            return self._buffer.records
        return sum(not run.partition.gone for run in self._active)

    @property
    def waiting_for_window(self) -> bool:
        """Whether fetched records wait to be committed ahead, and could start then."""
        if self.rules.ordering is not Ordering.PARTITION or not self._parked:
            return self._intake.records > 0
        blocked = {run.partition for run in self._parked}
        return any(partition not in blocked for partition in self._intake.partitions)

    def room(self) -> bool:
        """Whether another fetch fits into the buffer.

        It holds two fetches; with before_processing also two windows, where handlers are fast
        enough for large ones; and more while what it holds cannot keep every handler busy.
        """
        buffer, most = self._buffer, max(self._refill, 2 * self._ahead_size)
        if not self._before and len(self._active) + len(self._ready.queue) < self._hands:
            most = max(most, IDLE_FETCHES * self.rules.fetch_size)
        return buffer.records <= most and buffer.size < self.rules.buffer_bytes

    def wants_more(self) -> bool:
        """Whether the next window could be larger than what is fetched for it.

        One commit takes some 6 ms whatever its size, which must not limit fast handlers.
        """
        return self._before and self._intake.records < self._ahead_size and self.room()

    def pressed(self, now: float) -> bool:
        """Whether what fills the buffer is paused, so that a fetch brings only other records."""
        return self._pressure.lasting(now)

    def quiet(self, tps: Iterable[TP] | None = None) -> bool:
        """Whether nothing of these partitions (all: of the loop) is under way or has to be."""
        chosen = self.partitions.values() if tps is None else self._select(tps)
        return not any(p.buffered for p in chosen)

    def longest_handler(self, now: float) -> float:
        """For how many seconds the slowest record has been handled by now."""
        return max((now - run.last_activity for run in self._active), default=0.0)

    def unattended(self, now: float) -> float:
        """For how many seconds records wait for free hands that do not look for any.

        Theirs is an event loop that something else holds up.
        """
        if not self._ready.queue or len(self._active) >= self._hands or self._held_back:
            return 0.0
        return now - max(self._offered_at, self.looked_after_at)

    @property
    def _ahead_size(self) -> int:
        """How many records may be committed and not started: every hand's next batch at least."""
        return max(self._ahead.size, self._hands_full if self.rules.batch else 0)

    def window_size(self, now: float) -> int:
        """How many records to commit ahead of their handlers now; 0 if it is not time."""
        return sum(self._quotas(now).values())

    # ---- inside ------------------------------------------------------------------------

    def _select(self, tps: Iterable[TP]) -> list[Partition]:
        return [self.partitions[tp] for tp in tps if tp in self.partitions]

    def _hurried(self, run: Run) -> bool:
        """Whether a run cannot wait: it is committed, and nobody else will ever handle it."""
        return self._before and (self.stopping or run.partition.leaving)

    @property
    def _held_back(self) -> bool:
        """Whether nothing may start because the loop is paused.

        What is committed ahead has nobody else: at the end, or when its partition is given up,
        it is handled nevertheless.
        """
        if not self.paused or self.stopping:
            return False
        return not (self._before and any(p.leaving for p in self.partitions.values()))

    def _quotas(self, now: float) -> dict[Partition, int]:
        """How many records of each partition to commit ahead now."""
        nothing = not self._intake.records or self.stopping or self.paused
        if nothing or self.schedule.backing_off(now):
            return {}
        hand = InHand(self._active, self._parked, self._ready.queue, self._buffer.records)
        return quotas(self._intake, hand, self.rules.ordering, self._hands, self._ahead_size, now)
