"""The consumer engine: what happens to fetched records, decided without a clock or a socket.

Pure: an event is a method call with `now`, the actions are what it returns. The poller brings
what Kafka says (assigned, revoking, fetched, committed), the handlers' side takes runs and
returns them. Neither may call it without the lock of :mod:`flowodm.consumer.dispatch`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from flowodm.consumer.engine.dead_letter_limit import WINDOW
from flowodm.consumer.engine.partition import Partition
from flowodm.consumer.engine.retry import Retry, SendToDeadLetters, Skip, Stop, Verdict
from flowodm.consumer.engine.run import take
from flowodm.consumer.engine.state import State
from flowodm.events import Outcome, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flowodm.consumer.engine.lanes import Record
    from flowodm.consumer.engine.offsets import Position
    from flowodm.consumer.engine.partition import LogEnd
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.engine.window import Window
    from flowodm.events import TP


NOTHING: Mapping[TP, Position] = MappingProxyType({})


class Engine(State):
    """All partitions of one loop, and everything that is under way: what happens to it."""

    # ---- what Kafka says -------------------------------------------------------------

    def assigned(self, tps: Iterable[TP], committed: Mapping[TP, Position] = NOTHING) -> None:
        """Partitions are ours from now on.

        Args:
            tps: The partitions.
            committed: What the group has committed for them, where that is known.
        """
        ordering = self.rules.ordering
        for tp in tps:
            self.partitions[tp] = Partition(
                tp, ordering, self._ready, self._buffer, committed.get(tp)
            )

    def revoking(self, tps: Iterable[TP]) -> None:
        """Partitions are to be given up: start nothing new there (see :meth:`quiet`)."""
        for partition in self._select(tps):
            partition.leaving = True
            self._quieten(partition)

    def forget(self, tps: Iterable[TP]) -> None:
        """Partitions are no longer ours; what still comes from their handlers is not committed."""
        for partition in self._select(tps):
            partition.gone = True
            self._intake.drop(partition)
            self._report_lost(partition, partition.drop_waiting())
            del self.partitions[partition.tp]
        self._unpark(lambda run: run.partition.gone)
        for run in self._active:
            if run.partition.gone:
                run.halted, run.interrupted = True, False

    def fetched(
        self,
        tp: TP,
        records: Sequence[Record],
        now: float = 0.0,
        log_end: LogEnd | None = None,
    ) -> None:
        """Records arrived, in offset order; those of a partition that is not ours are dropped.

        Args:
            tp: The partition.
            records: At least one.
            now: Monotonic seconds.
            log_end: Tells where its log ends; see :meth:`Partition.unseen`.
        """
        partition = self.partitions.get(tp)
        if partition is None or self.stopping:
            return
        records = partition.unseen(records, log_end)
        if not records:
            return
        partition.hold(records)
        self._offered_at = now
        if self._before:
            self._intake.put(partition, records)
        else:
            partition.offer(records, now)

    def reached_end(self, tp: TP, end: int) -> None:
        """There is nothing to fetch below this offset any more."""
        partition = self.partitions.get(tp)
        if partition is not None:
            partition.reached(end)

    # ---- what the handlers' side asks and says ----------------------------------------

    def next_run(self, now: float) -> Run | None:
        """Records that may be handled now, or None; see :meth:`next_due`."""
        self.looked_after_at = now
        if self._held_back:
            return None
        run = self._parked.take(now)
        if run is None:
            lane = self._ready.next(now)
            if lane is None:
                return None
            run = take(lane, self._run_size, now, whole=self.rules.batch is not None)
        self._active[run] = None
        return run

    def finished(self, run: Run) -> None:
        """The handler's side is through with a run, or had to leave it."""
        del self._active[run]
        self._book(run)
        if run.done == len(run.records):
            run.partition.lanes.release(run.lane)
        elif run.interrupted:
            self._parked.add(run, run.started)
        else:
            self._abandon(run)

    def failed(
        self, run: Run, stage: Stage, error: BaseException, now: float, chance: float = 0.0
    ) -> Verdict:
        """The record at ``run.done`` failed. After Retry the run is not the caller's any more.

        Args:
            run: Where.
            stage: What failed.
            error: What it failed with.
            now: Monotonic seconds.
            chance: A random number from 0 to 1, for the retry's jitter.
        """
        verdict = self.rules.failures.judge(stage, run.count_failure(), error, chance)
        if isinstance(verdict, SendToDeadLetters):
            return self._within_limit(verdict)
        if not isinstance(verdict, Retry):
            return verdict
        if self._hurried(run) and stage is Stage.REGISTRY:
            return Skip()  # cannot be decoded before the end: counted as lost by the caller
        del self._active[run]
        self._book(run)
        if run.halted and not run.interrupted:
            self._abandon(run)
        else:
            self._parked.add(run, now if self._hurried(run) else now + verdict.delay)
        return verdict

    def _within_limit(self, verdict: Verdict) -> Verdict:
        """A broken handler stops the loop before it has emptied the topic into the bin."""
        for run in self._active:
            self._book(run)
        if self._letters.dead():
            return verdict
        share = self.rules.dead_letter_limit
        return Stop(f"more than {share:.0%} of the last {WINDOW} records are dead letters")

    def gave_up(self, run: Run, together: int, now: float) -> None:
        """These records of a run, from ``run.done`` on, have failed for good, and so has the loop.

        before_processing: they are lost; what was committed behind them is still handled, as
        nobody else will.
        """
        goes_on = self._before and not run.partition.gone
        for _ in range(together if goes_on else 0):
            run.outcomes[run.done] = Outcome.LOST
            run.ticks.append(now)
            run.done += 1
        run.halted, run.interrupted = True, goes_on
        self.finished(run)

    def exhaust(self, run: Run) -> None:
        """The record at ``run.done`` has had all its attempts, as part of a batch."""
        run.failed_at, run.failures = run.done, self.rules.failures.max_retries

    def pause(self, *, paused: bool) -> None:
        """Start nothing until it is taken back; what handlers are at ends behind its record."""
        self.paused = paused
        for run in self._active:
            if paused and not run.halted:
                run.halted = run.interrupted = True
            elif not paused and run.interrupted:
                run.halted = False  # its handler's side may have left it nevertheless

    def stop(self) -> None:
        """Start nothing new. Idempotent.

        after_processing: the handlers that run now are the last ones. before_processing: what
        is already committed is still handled, as nobody else will; waits for a retry are cut.
        """
        self.stopping = True
        for partition in self.partitions.values():
            self._quieten(partition)

    # ---- committing --------------------------------------------------------------------

    def window(self, now: float) -> Window | None:
        """The next records to commit ahead of their handlers, if it is time."""
        quotas = self._quotas(now)
        return self._intake.cut(quotas) if quotas else None

    def window_answered(self, window: Window, now: float = 0.0, *, ok: bool) -> None:
        """The broker confirmed a window, so its handlers may start; or it did not."""
        self._offered_at = now
        if not ok:
            self._intake.put_back(window)
        for partition, records in window.chunks:
            if not ok:
                if self.stopping or partition.leaving or partition.gone:
                    self._intake.drop(partition)
            elif partition.gone:
                partition.let_go(records)
                self._report_lost(partition, len(records))
            else:
                partition.confirmed = window.offsets[partition.tp]
                partition.offer(records, now)

    def to_commit(self, tps: Iterable[TP] | None = None) -> dict[TP, Position]:
        """What may be committed and is not (after_processing), of all or some partitions."""
        for run in self._active:
            self._book(run)
        if self._before:
            return {}
        chosen = self.partitions.values() if tps is None else self._select(tps)
        return {p.tp: position for p in chosen if (position := p.uncommitted) is not None}

    def committed(self, tp: TP, position: Position) -> None:
        """The broker confirmed a commit."""
        partition = self.partitions.get(tp)
        if partition is None:
            return
        known = partition.confirmed
        newer = known is None or position.offset >= known.offset
        # Lower and no late answer: the log has begun anew below it (a topic made again, a
        # truncated log). Without this the same offset would be committed for ever.
        if newer or position == partition.uncommitted:
            partition.confirmed = position

    # ---- back-pressure ---------------------------------------------------------------------

    def pressure(self, now: float) -> tuple[list[TP], list[TP]]:
        """Partitions to pause and to resume, so that polling goes on with a full buffer."""
        mine, room = self.partitions.values(), self.room()
        return self._pressure.changes(mine, now, room=room, everything=self.paused)

    # ---- inside ------------------------------------------------------------------------

    def _quieten(self, partition: Partition) -> None:
        self._intake.drop(partition)
        partition.lanes.hurry()
        if self._before:
            self._parked.hurry(self._hurried)
            return
        partition.drop_waiting()
        self._unpark(lambda run: run.partition is partition)
        for run in self._active:
            if run.partition is partition:
                run.halted, run.interrupted = True, False

    def _unpark(self, which: Callable[[Run], bool]) -> None:
        for run in self._parked.drop(which):
            self._abandon(run)

    def _abandon(self, run: Run) -> None:
        """The rest of a run, and what waits behind it, will not be handled here.

        after_processing: it is fetched again, by us or by another member.
        """
        rest = [*run.records[run.done :], *run.lane.backlog]
        run.lane.backlog.clear()
        run.partition.let_go(rest)
        self._report_lost(run.partition, len(rest))
        if self._before and not run.partition.gone:
            # A window that is being committed now may still bring records of this lane. After
            # processing the lane stays closed: its next record would pass the one left here.
            run.partition.lanes.release(run.lane)

    def _report_lost(self, partition: Partition, records: int) -> None:
        """Records that are committed and not handled: what at most once may cost."""
        if self._before and records:
            self.reports.lost(partition.tp, records)

    def _book(self, run: Run) -> None:
        first = run.booked
        seconds = run.book()
        if not seconds:
            return
        others = run.others(first)
        self.processed += len(seconds) - sum(others.values())
        dead = others.get(Outcome.DEAD_LETTERED, 0)  # counted when they were allowed
        self._letters.settled(len(seconds) - dead)
        self.reports.add(run.partition.tp, seconds, others)
        if self._before:
            self._ahead.measured(len(seconds), sum(seconds))
