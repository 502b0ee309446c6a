"""Decide what happens to fetched records, without a clock or a socket.

Pure: an event is a method call with `now`, the actions are what it returns. The poller brings what
Kafka says and takes its actions once a turn (:meth:`Engine.turn`), the handlers' side takes runs
and returns them. Neither may call it without the lock of :mod:`flowodm.consumer.dispatch`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from flowodm.consumer.engine.actions import (
    Awaited,
    CommitSettled,
    CommitWindow,
    Fetch,
    Sample,
    Turn,
)
from flowodm.consumer.engine.assignment import Assignment
from flowodm.consumer.engine.backpressure import Pressure
from flowodm.consumer.engine.commit import CommitSchedule, CommitStrategy
from flowodm.consumer.engine.fetch_plan import SLICE, FetchPlan
from flowodm.consumer.engine.handlers import Handlers
from flowodm.consumer.engine.poll_interval import PollInterval
from flowodm.consumer.engine.retry import Retry, SendToDeadLetters, Skip, Verdict
from flowodm.consumer.engine.settlement import Settlement
from flowodm.consumer.engine.snapshot import Snapshot
from flowodm.consumer.engine.window import Windows
from flowodm.events import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowodm.consumer.engine.actions import Action, Arrivals
    from flowodm.consumer.engine.offsets import Position
    from flowodm.consumer.engine.partition import LogEnd, Partition
    from flowodm.consumer.engine.rules import Rules
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.engine.window import Window
    from flowodm.events import TP, Handled

_NOTHING: Mapping[TP, Position] = MappingProxyType({})

SAMPLE_INTERVAL = 1.0
"""Seconds between two samples of lag and load."""
SAMPLE_LATE = 0.5
"""Seconds for which a sample waits for a turn in which nothing arrived: what has just arrived is
no lag."""
REPORT_AFTER = 500
"""Settled records that are told at once; fewer are told at the poller's next turn, at most 0.1 s
later."""


class Engine:
    """All partitions of one loop, and everything that is under way.

    Args:
        rules: What the loop was told.
        poll_timeout: The most seconds of one fetch.
    """

    def __init__(self, rules: Rules, poll_timeout: float = SLICE) -> None:
        self.rules = rules
        self._before = rules.strategy is CommitStrategy.BEFORE_PROCESSING
        self._stopping = False
        self._paused = False
        self._sample_due = 0.0
        self._look_due = False
        self._woken_for: float | None = None
        self._handlers = Handlers(rules)
        self._assignment = Assignment(rules.ordering, self._handlers.ready)
        self._buffer = self._assignment.buffer
        self._partitions = self._assignment.partitions
        self._windows = Windows(rules, self._handlers)
        self._pressure = Pressure(rules, self._buffer)
        self._schedule = CommitSchedule(rules.commit_interval)
        self._fetch_plan = FetchPlan(poll_timeout, rules.commit_ahead)
        windows = self._windows if self._before else None
        self._settlement = Settlement(rules.dead_letter_limit, windows)
        self._poll_interval = PollInterval(rules.max_poll_interval)

    # ---- what Kafka says ---------------------------------------------------------------------

    def assigned(self, tps: Iterable[TP], committed: Mapping[TP, Position] = _NOTHING) -> None:
        """Begin with partitions that were assigned.

        Args:
            tps: The partitions.
            committed: What the group has committed for them, where that is known.
        """
        self._assignment.add(tps, committed)

    def turn(
        self, arrived: Arrivals, now: float, *, paused: bool, log_end: LogEnd | None = None
    ) -> Turn:
        """Take what one fetch brought; say what to do, and how to fetch next.

        Args:
            arrived: Records of partitions that are not ours are dropped.
            now: Monotonic seconds.
            paused: Whether nothing is to be fetched or started.
            log_end: Tells where a partition's log ends; see :meth:`Partition.unseen`.
        """
        if self._paused is not paused:
            self._pause(paused=paused)
        self._take_in(arrived, now, log_end)
        if arrived.records and self._wants_more():
            return Turn((), Fetch(0.0))
        actions = self._commits(now)
        room = self._has_room()
        everything = self._partitions.values()
        actions += self._pressure.changes(everything, now, room=room, everything=self._paused)
        actions += self._membership(now)
        if self._sample_is_due(now, arrived):
            actions.append(self._sample(now))
        # With everything paused a fetch only serves the callbacks.
        wanted = room or self._pressure.lasting(now) or self._paused
        return Turn(actions, self._fetch_plan.next(self._windows, wanted=wanted))

    def answered(
        self,
        offsets: Mapping[TP, Position],
        now: float = 0.0,
        *,
        ok: bool,
        window: Window | None = None,
        scheduled: bool = False,
    ) -> None:
        """Take the broker's answer to a commit, or that there will be none.

        Args:
            offsets: What was to be committed.
            now: Monotonic seconds.
            ok: Whether it is.
            window: The records whose handlers wait for it.
            scheduled: Whether :meth:`turn` had asked for it.
        """
        if scheduled:
            self._schedule.answered(now, ok=ok)
        if window is not None:
            self._window_answered(window, now, ok=ok)
        elif ok:
            self._assignment.committed(offsets)

    def stop(self, tps: Iterable[TP] | None = None) -> None:
        """Start nothing new, of these partitions or for good of all. Idempotent.

        after_processing: the handlers that run now are the last ones. before_processing: what
        is already committed is still handled, as nobody else will; waits for a retry are cut.
        """
        self._stopping = self._stopping or tps is None
        for partition in self._assignment.chosen(tps):
            partition.leaving = partition.leaving or tps is not None
            self._quieten(partition)

    def forget(self, tps: Iterable[TP] | None = None) -> None:
        """Give partitions up (None: all); what their handlers still do is not committed."""
        for partition in self._assignment.chosen(tps):
            partition.gone = True
            self._windows.intake.drop(partition)
            self._settlement.lost(partition, partition.drop_waiting())
            del self._partitions[partition.tp]
            self._abandon_parked(partition)
            self._handlers.halt(partition)

    def to_commit(self, tps: Iterable[TP] | None = None) -> dict[TP, Position]:
        """Return what may be committed and is not (after_processing); None: of all partitions."""
        for run in self._handlers.active:
            self._settlement.book(run)
        if self._before:
            return {}
        return self._assignment.uncommitted(tps)

    # ---- what the handlers' side asks and says ---------------------------------------------------

    def next_run(self, now: float) -> tuple[Run | None, float | None]:
        """Hand out records that may be handled now; or say when the next wait ends, if one does."""
        self._handlers.looked_at = now
        if self._held_back:
            return None, None
        run = self._handlers.next_run(now)
        return run, None if run is not None else self._handlers.next_due()

    def finished(self, run: Run, now: float = 0.0, *, given_up: int = 0) -> bool:
        """Take a run back, worked off or left.

        Args:
            run: The run; nothing happens if it was taken back before.
            now: Monotonic seconds.
            given_up: So many records, from ``run.done`` on, have failed for good, and the loop
                with them.

        Returns:
            Whether there is so much to report that it should not wait for the poller's turn.
        """
        if given_up:
            self._settlement.give_up(run, given_up, now)
        if self._handlers.end(run):
            self._settlement.book(run)
            if run.done == len(run.records):
                run.partition.lanes.release(run.lane)
            elif run.interrupted:
                self._handlers.parked.add(run, run.started)
            else:
                self._settlement.abandon(run)
        return self._settlement.reports.records >= REPORT_AFTER

    def failed(
        self,
        run: Run,
        stage: Stage,
        error: BaseException,
        now: float,
        chance: float = 0.0,
        *,
        last_attempt: bool = False,
    ) -> Verdict:
        """Decide what follows the failure of the record at ``run.done``.

        Args:
            run: Where.
            stage: What failed.
            error: What it failed with.
            now: Monotonic seconds.
            chance: A random number from 0 to 1, for the retry's jitter.
            last_attempt: It is not tried again, however often it was.
        """
        if last_attempt:
            run.exhaust(self.rules.failures.max_retries)
        verdict = self.rules.failures.judge(stage, run.count_failure(), error, chance)
        if isinstance(verdict, SendToDeadLetters):
            return self._settlement.refuses_dead_letter(self._handlers.active) or verdict
        if not isinstance(verdict, Retry):
            return verdict
        hurried = self._hurried(run)
        if hurried and stage is Stage.REGISTRY:
            return Skip()  # cannot be decoded before the end: counted as lost by the caller
        self._settlement.book(run)
        if run.halted and not run.interrupted:
            self._handlers.end(run)
            self._settlement.abandon(run)
        else:
            self._handlers.park(run, now if hurried else now + verdict.delay)
        return verdict

    # ---- what may be known -------------------------------------------------------------------

    def met(self, awaited: Awaited, now: float, tps: Iterable[TP] | None = None) -> bool:
        """Return whether what the poller waits for has come.

        Args:
            awaited: What it is.
            now: Monotonic seconds.
            tps: For QUIET: only these partitions.
        """
        match awaited:
            case Awaited.QUIET:
                return self._assignment.quiet(tps)
            case Awaited.ROOM:
                return self._has_room()
            case Awaited.WINDOW:
                return bool(self._quotas(now))
            case Awaited.ROOM_OR_WINDOW:
                return self._has_room() or bool(self._quotas(now))

    def snapshot(self, now: float) -> Snapshot:
        """Take a snapshot of this moment."""
        partitions = self._partitions
        return Snapshot(
            partitions=tuple(partitions),
            in_flight=len(self._handlers.active),
            buffered=self._buffer.records,
            waiting=len(self._handlers.parked),
            paused=sum(partition.paused for partition in partitions.values()),
            processed=self._settlement.processed,
            unfinished=self._unfinished(),
            longest_handler=self._handlers.longest(now),
            idle=self._idle(),
            max_poll_interval=self.rules.max_poll_interval,
        )

    def end_visit(self) -> tuple[list[Handled], bool]:
        """Return what to report, and whether the handlers' side should look for work.

        It should if a free handler would find something; if the next wait ends at another time
        than when it was woken last; once with every sample; and if the member has left its group
        until handlers ask.
        """
        due = None if self._held_back else self._handlers.next_due()
        another_wait = due != self._woken_for
        self._woken_for = due
        may_start = self._handlers.may_start and not self._held_back
        wake = may_start or another_wait or self._look_due or self._poll_interval.away
        self._look_due = False
        return self._settlement.reports.take(), wake

    # ---- inside: a turn --------------------------------------------------------------------------

    def _take_in(self, arrived: Arrivals, now: float, log_end: LogEnd | None) -> None:
        for tp, fetched in arrived.records.items():
            partition = self._partitions.get(tp)
            if partition is None or self._stopping:
                continue
            records = partition.unseen(fetched, log_end)
            if not records:
                continue
            partition.hold(records)
            self._handlers.offered_at = now
            if self._before:
                self._windows.intake.put(partition, records)
            else:
                partition.offer(records, now)
        for tp, end in arrived.ends.items():
            if (partition := self._partitions.get(tp)) is not None:
                partition.reached(end)

    def _pause(self, *, paused: bool) -> None:
        self._paused = paused
        if paused:
            self._handlers.pause()
        else:
            self._handlers.resume()

    def _commits(self, now: float) -> list[Action]:
        if self._before:
            return self._commit_ahead(now)
        if not self._schedule.due(now, idle=not self._buffer.records):
            return []
        offsets = self.to_commit()
        if not offsets:
            self._schedule.nothing(now)
            return []
        self._schedule.sent(now)
        return [CommitSettled(offsets)]

    def _commit_ahead(self, now: float) -> list[Action]:
        if self._schedule.in_flight or not self._may_commit_ahead(now):
            return []
        window = self._windows.cut(self._buffer.records, now)
        if window is None:
            return []
        self._schedule.sent(now)
        return [CommitWindow(window)]

    def _may_commit_ahead(self, now: float) -> bool:
        return not (self._stopping or self._paused or self._schedule.backing_off(now))

    def _quotas(self, now: float) -> Mapping[Partition, int]:
        """Return how many records of each partition could be committed ahead now."""
        if not self._may_commit_ahead(now):
            return {}
        return self._windows.quotas(self._buffer.records, now)

    def _has_room(self) -> bool:
        hungry = not self._before and self._handlers.hungry
        return self._pressure.has_room(self._windows.size, hungry=hungry)

    def _wants_more(self) -> bool:
        """Return whether the next window could be larger than what is fetched for it.

        One commit takes some 6 ms whatever its size, which must not limit fast handlers.
        """
        windows = self._windows
        return self._before and windows.intake.records < windows.size and self._has_room()

    def _sample_is_due(self, now: float, arrived: Arrivals) -> bool:
        return now >= self._sample_due + (SAMPLE_LATE if arrived.records else 0.0)

    def _membership(self, now: float) -> list[Action]:
        """Leave the group for a handler that is too slow, or for records that nobody takes."""
        unattended = 0.0 if self._held_back else self._handlers.unattended(now)
        return [*self._poll_interval.decide(self._handlers, unattended, now)]

    def _sample(self, now: float) -> Sample:
        """Measure positions as they are now; let the handlers' side look once, whatever there is.

        An event loop that the program has closed is noticed by that.
        """
        self._sample_due = now + SAMPLE_INTERVAL
        self._look_due = True
        for run in self._handlers.active:
            self._settlement.book(run)
        return Sample(self._assignment.positions(), self._idle())

    # ---- inside: partitions ----------------------------------------------------------------------

    def _idle(self) -> dict[TP, int]:
        leaving = self._assignment.some_leaving
        if self._paused or self._stopping or leaving:  # a rebalance may wait long for handlers
            return {}
        holding_is_idle = self.rules.batch is None and not self._handlers.all_busy
        busy = self._handlers.busy_partitions()
        return self._assignment.idle(busy, holding_is_idle=holding_is_idle)

    def _unfinished(self) -> int:
        if self._before:
            return self._buffer.records
        return sum(not run.partition.gone for run in self._handlers.active)

    def _quieten(self, partition: Partition) -> None:
        self._windows.intake.drop(partition)
        partition.lanes.hurry()
        if self._before:
            self._handlers.parked.hurry(self._hurried)
            return
        partition.drop_waiting()
        self._abandon_parked(partition)
        self._handlers.halt(partition)

    def _abandon_parked(self, partition: Partition) -> None:
        for run in self._handlers.parked.drop(lambda run: run.partition is partition):
            self._settlement.abandon(run)

    def _window_answered(self, window: Window, now: float, *, ok: bool) -> None:
        """Let the handlers of a window start, or put its records back for the next one."""
        self._windows.under_way = False
        self._handlers.offered_at = now
        if not ok:
            self._windows.intake.put_back(window)
        for partition, records in window.chunks:
            if not ok:
                if self._stopping or partition.leaving or partition.gone:
                    self._windows.intake.drop(partition)
            elif partition.gone:
                partition.let_go(records)
                self._settlement.lost(partition, len(records))
            else:
                partition.confirmed = window.offsets[partition.tp]
                partition.offer(records, now)

    # ---- inside: runs ----------------------------------------------------------------------------

    @property
    def _held_back(self) -> bool:
        """Whether nothing may start because the loop is paused.

        What is committed ahead has nobody else: at the end, or when its partition is given up,
        it is handled nevertheless.
        """
        if not self._paused or self._stopping:
            return False
        return not (self._before and self._assignment.some_leaving)

    def _hurried(self, run: Run) -> bool:
        """Return whether a run cannot wait: it is committed, and nobody else will handle it."""
        return self._before and (self._stopping or run.partition.leaving)
