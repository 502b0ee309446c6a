"""Own the runs that handlers work on, and those that wait for one. Pure."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from flowodm.consumer.engine.lanes import ReadyLanes
from flowodm.consumer.engine.run import take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowodm.consumer.engine.partition import Partition
    from flowodm.consumer.engine.rules import Rules
    from flowodm.consumer.engine.run import Run


class ParkedRuns:
    """Runs that wait, in the order of the times at which they are due."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Run]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Run]:
        return (run for _, _, run in self._entries)

    def add(self, run: Run, due: float) -> None:
        """Let a run wait until this time (monotonic seconds); nothing halts it any more."""
        run.halted = run.interrupted = False
        heappush(self._entries, (due, next(self._numbers), run))

    def take(self, now: float) -> Run | None:
        """Return the run that has waited longest, if one is due."""
        if not self._entries or self._entries[0][0] > now:
            return None
        run = heappop(self._entries)[2]
        run.started = now
        return run

    @property
    def next_due(self) -> float | None:
        """When the next one is due."""
        return self._entries[0][0] if self._entries else None

    def hurry(self, which: Callable[[Run], bool]) -> None:
        """Make these runs due at once."""
        self._entries = [
            (float("-inf") if which(run) else due, number, run)
            for due, number, run in self._entries
        ]
        heapify(self._entries)

    def drop(self, which: Callable[[Run], bool]) -> list[Run]:
        """Remove these runs, and return them."""
        dropped = [run for run in self if which(run)]
        self._entries = [entry for entry in self._entries if not which(entry[2])]
        heapify(self._entries)
        return dropped


class Handlers:
    """Owns every run of a loop, from its start to its end.

    Args:
        rules: What the loop was told.

    Attributes:
        limit: How many handlers there are.
        ready: The lanes that may start.
        active: Runs that handlers work on, those of partitions that are gone included; the one
            that was handed out first comes first.
        parked: Runs that wait for a retry, or for the end of a pause.
        looked_at: When the handlers' side last asked for a run, in monotonic seconds.
        offered_at: When records were last offered to it.
    """

    def __init__(self, rules: Rules) -> None:
        batch = rules.batch
        self.limit = rules.max_concurrent
        self.ready = ReadyLanes(batch)
        self.active: dict[Run, None] = {}
        self.parked = ParkedRuns()
        self.looked_at = 0.0
        self.offered_at = 0.0
        self._batches = batch is not None
        self._run_size = rules.fetch_size if batch is None else batch.size

    @property
    def all_busy(self) -> bool:
        """Whether no handler is free."""
        return len(self.active) >= self.limit

    @property
    def may_start(self) -> bool:
        """Whether a free handler would find a lane that is ready."""
        return bool(self.ready.queue) and not self.all_busy

    @property
    def hungry(self) -> bool:
        """Whether what is ready cannot keep every handler busy."""
        return len(self.active) + len(self.ready.queue) < self.limit

    def next_run(self, now: float) -> Run | None:
        """Hand out the records that may be handled now."""
        run = self.parked.take(now)
        if run is None:
            lane = self.ready.next(now)
            if lane is None:
                return None
            run = take(lane, self._run_size, now, whole=self._batches)
        self.active[run] = None
        return run

    def next_due(self) -> float | None:
        """Return when the next wait ends, for a retry or for a batch, in monotonic seconds."""
        retry = self.parked.next_due
        if not self._batches:
            return retry
        batch = self.ready.next_due()
        if retry is None or batch is None:
            return batch if retry is None else retry
        return min(retry, batch)

    def end(self, run: Run) -> bool:
        """Take a run back; returns whether it was out."""
        if run not in self.active:
            return False
        del self.active[run]
        return True

    def park(self, run: Run, due: float) -> None:
        """Take a run back that goes on at this time."""
        del self.active[run]
        self.parked.add(run, due)

    def halt(self, partition: Partition) -> None:
        """Let no further record of a partition start."""
        for run in self.active:
            if run.partition is partition:
                run.halted, run.interrupted = True, False

    def pause(self) -> None:
        """Let each run end behind its present record, for as long as the loop is paused."""
        for run in self.active:
            if not run.halted:
                run.halted = run.interrupted = True

    def resume(self) -> None:
        """Let the runs that :meth:`pause` halted go on, unless a handler has left them already."""
        for run in self.active:
            if run.interrupted:
                run.halted = False

    def busy_partitions(self) -> set[Partition]:
        """Return the partitions of all runs, parked ones included."""
        return {run.partition for run in (*self.active, *self.parked)}

    def longest(self, now: float) -> float:
        """Return for how many seconds the slowest record has been handled by now."""
        return max((now - run.last_activity for run in self.active), default=0.0)

    def unattended(self, now: float) -> float:
        """Return for how many seconds records wait for free handlers that do not ask for any.

        Something else then holds up the handlers' event loop.
        """
        return now - max(self.offered_at, self.looked_at) if self.may_start else 0.0
