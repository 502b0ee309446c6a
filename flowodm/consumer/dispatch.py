"""Put the engine behind one lock, between the poller's thread and the handlers' side.

Whoever changes the engine does so in ``with dispatch as engine:``. Leaving the block wakes those
who wait for a change and hands what was settled to the observers, outside the lock, so that an
observer may ask for the loop's status.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from random import random
from typing import TYPE_CHECKING

from flowodm.consumer.engine.retry import CallErrorHandler, Retry, SendToDeadLetters, Skip, Stop
from flowodm.events import Ended, Event, Failed, LoopState, LoopStatus, StateChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from flowodm.consumer.engine.actions import Awaited
    from flowodm.consumer.engine.engine import Engine
    from flowodm.consumer.engine.retry import Verdict
    from flowodm.consumer.engine.run import Run
    from flowodm.events import TP, Observer, Stage

_log = logging.getLogger("flowodm.consumer")

POLLER_AWAY = 30.0
"""Seconds after which a poller that has not looked after its partitions does nothing for them.

In a rebalance it may wait for handlers; their partitions do not count as idle.
"""
COMPLAIN_EVERY = 30.0
"""Seconds for which further failures of an observer are counted and not logged."""


class Dispatch:
    """Serialises every access to one loop's engine.

    Args:
        engine: What decides.
        observers: Who is told.
        wake: Called, from any thread, when there may be something for handlers to do.
    """

    def __init__(
        self,
        engine: Engine,
        observers: Iterable[Observer] = (),
        wake: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._observers = tuple(observers)
        self._wake = wake
        self._complaints = _Complaints()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._change = threading.Condition(self._lock)
        self._awaited: tuple[Awaited, Sequence[TP] | None] | None = None
        self._state = LoopState.CREATED
        self.over = False
        self.joined = False
        self.member_id: str | None = None
        self.lags: dict[TP, int] = {}
        self._behind: Mapping[TP, int] = {}
        self._looked_at = time.monotonic()

    # ---- both sides --------------------------------------------------------------------

    def __enter__(self) -> Engine:
        """Take the lock."""
        self._lock.acquire()
        return self._engine

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wake who waits, release the lock, report."""
        reports, wake = self._end_visit()
        self._lock.release()
        if wake and self._wake is not None:
            self._wake()
        for report in reports:
            self.tell(report)

    def _end_visit(self) -> tuple[Sequence[Event], bool]:
        """Notify those who wait for a change, under the lock."""
        reports, wake = self._engine.end_visit()
        wake = wake or self.over
        if wake and self._wake is None:  # threads wait for work; tasks are woken
            self._work.notify_all()
        self._announce_change()
        return reports, wake

    def nudge(self) -> None:
        """Have every thread and task that waits for work look once, whether there is any or not."""
        with self._lock:
            self._work.notify_all()
        if self._wake is not None:
            self._wake()

    def tell(self, event: Event) -> None:
        """Hand an event to the observers; one that raises is logged and does no harm."""
        for observer in self._observers:
            try:
                observer(event)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it may not end the loop
                self._complaints.about(observer, event, error)

    def enter_state(self, state: LoopState) -> None:
        """Record a new state of the loop, and tell the observers."""
        with self._lock:
            if self._state is state:
                return
            self._state = state
        self.tell(StateChanged(state))

    def close(self) -> None:
        """Hand out nothing any more."""
        with self:
            self.over = True

    def status(self) -> LoopStatus:
        """Take a snapshot; from any thread, but not from an observer that holds up the loop."""
        with self._lock:
            now = time.monotonic()
            snapshot = self._engine.snapshot(now)
            behind = snapshot.idle if now - self._looked_at > POLLER_AWAY else self._behind
            lags = {tp: self.lags[tp] for tp in snapshot.partitions if tp in self.lags}
            return LoopStatus(
                state=self._state,
                assigned=tuple(snapshot.partitions),
                joined=self.joined,
                member_id=self.member_id,
                in_flight=snapshot.in_flight,
                buffered=snapshot.buffered,
                waiting=snapshot.waiting,
                paused=snapshot.paused,
                processed=snapshot.processed,
                lag=sum(lags.values()) if lags else None,
                lags=tuple(lags.items()),
                behind=tuple(behind.items()),
                oldest_handler_seconds=snapshot.longest_handler,
                max_poll_interval_seconds=snapshot.max_poll_interval,
            )

    # ---- the poller's side ---------------------------------------------------------------

    def record_stalled(self, behind: Mapping[TP, int]) -> None:
        """Record which partitions stand still, with their positions."""
        self._behind = behind
        self._looked_at = time.monotonic()

    def wait_for(self, awaited: Awaited, timeout: float, tps: Sequence[TP] | None = None) -> bool:
        """Wait until the handlers' side brings a change about.

        Args:
            awaited: The change.
            timeout: Seconds.
            tps: For Awaited.QUIET: only these partitions.

        Returns:
            Whether it came.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._awaited = (awaited, tps)
            try:
                while not (met := self._engine.met(awaited, time.monotonic(), tps)):
                    left = deadline - time.monotonic()
                    if left <= 0:
                        break
                    self._change.wait(left)
            finally:
                self._awaited = None
            return met

    def _announce_change(self) -> None:
        """Wake the poller if what it waits for has come; under the lock."""
        if self._awaited is None:
            return
        awaited, tps = self._awaited
        if self._engine.met(awaited, time.monotonic(), tps):
            self._change.notify_all()

    # ---- the handlers' side --------------------------------------------------------------

    def take(self) -> Run | None:
        """Return the next records to handle; wait for them. None: the loop is over."""
        with self._lock:
            while not self.over:
                now = time.monotonic()
                run, due = self._engine.next_run(now)
                if run is not None:
                    return run
                self._work.wait(None if due is None else max(due - now, 0.0))
            return None

    def take_now(self) -> tuple[Run | None, float | None]:
        """Return the next records without waiting, or the time at which the next wait ends."""
        with self._lock:
            if self.over:
                return None, None
            return self._engine.next_run(time.monotonic())

    def finished(self, run: Run) -> None:
        """Take a run back, worked off or not."""
        with self._lock:
            if not (self._engine.finished(run) or self.over):
                self._announce_change()
                return
            reports, wake = self._end_visit()
        if wake and self._wake is not None:
            self._wake()
        for report in reports:
            self.tell(report)

    def gave_up(self, run: Run, together: int) -> None:
        """End the loop because of the record at ``run.done``, which nobody has taken.

        Args:
            run: Where.
            together: How many records have failed as one, that one included.
        """
        with self as engine:
            engine.finished(run, time.monotonic(), given_up=together)

    def left(self, run: Run) -> None:
        """Take a run back that was left in the middle of a record, which is not settled."""
        run.halted, run.interrupted = True, False
        with self as engine:
            engine.finished(run)

    def failed(
        self, run: Run, stage: Stage, error: BaseException, *, last_attempt: bool = False
    ) -> Verdict:
        """Decide what follows the failure of the record at ``run.done``, and tell the observers.

        Args:
            run: Where.
            stage: What failed.
            error: What it failed with.
            last_attempt: It is not tried again, however often it was.
        """
        record = run.records[run.done]
        with self as engine:
            chance = random()  # noqa: S311 - it spreads retries
            verdict = engine.failed(
                run, stage, error, time.monotonic(), chance, last_attempt=last_attempt
            )
        topic, partition = run.partition.tp
        self.tell(
            Failed(
                stage=stage,
                topic=topic,
                partition=partition,
                offset=record.offset() or 0,
                failures=run.failures,
                error=error,
                consequence=_consequence(verdict),
                delay=verdict.delay if isinstance(verdict, Retry) else None,
            )
        )
        return verdict


class _Complaints:
    """An observer that always fails is in the log now and then, and at the end, with a count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[int, float] = {}
        self._untold: Counter[int] = Counter()

    def about(self, observer: Observer, event: Event, error: BaseException) -> None:
        key, now = id(observer), time.monotonic()
        with self._lock:
            if now < self._due.get(key, now) and not isinstance(event, Ended):
                self._untold[key] += 1
                return
            self._due[key] = now + COMPLAIN_EVERY
            untold = self._untold.pop(key, 0)
        text = "observer %r failed on %s, and %d times since the last such line"
        _log.error(text, observer, type(event).__name__, untold, exc_info=error)


def _consequence(verdict: Verdict) -> str:
    match verdict:
        case Retry():
            return "retry"
        case SendToDeadLetters():
            return "dead_letter"
        case CallErrorHandler():
            return "error_handler"
        case Skip():
            return "skip"
        case Stop():
            return "stop"
