"""The consumer engine in single steps: what a turn does at once, one after the other."""

from __future__ import annotations

from flowodm.consumer.engine.actions import Arrivals, Awaited, PausePartitions
from flowodm.consumer.engine.engine import Engine


class SteppedEngine(Engine):
    """An engine whose decisions can be looked at one by one."""

    # ---- what the poller brings, one thing at a time -----------------------------------------

    def fetched(self, tp, records, now=0.0, log_end=None):
        self._take_in(Arrivals({tp: records}), now, log_end)

    def reached_end(self, tp, end):
        self._take_in(Arrivals(ends={tp: end}), 0.0, None)

    def pause(self, *, paused):
        self._pause(paused=paused)

    def revoking(self, tps):
        self.stop(tps)

    def committed(self, tp, position):
        self.answered({tp: position}, ok=True)

    def window(self, now):
        if not self._may_commit_ahead(now):
            return None
        return self._windows.cut(self._buffer.records, now)

    def window_answered(self, window, now=0.0, *, ok):
        self.answered({}, now, ok=ok, window=window)

    def pressure(self, now):
        """Partitions to pause, and to resume."""
        changes = self._pressure.changes(
            self._partitions.values(), now, room=self.room(), everything=self._paused
        )
        pause = [tp for c in changes if isinstance(c, PausePartitions) for tp in c.tps]
        resume = [tp for c in changes if not isinstance(c, PausePartitions) for tp in c.tps]
        return pause, resume

    # ---- what the handlers' side does --------------------------------------------------------

    def next_run(self, now):
        return super().next_run(now)[0]

    def next_due(self):
        return None if self._held_back else self._handlers.next_due()

    def gave_up(self, run, together, now):
        self.finished(run, now, given_up=together)

    def exhaust(self, run):
        run.exhaust(self.rules.failures.max_retries)

    # ---- what may be known -------------------------------------------------------------------

    def room(self):
        return self.met(Awaited.ROOM, 0.0)

    def quiet(self, tps=None):
        return self.met(Awaited.QUIET, 0.0, tps)

    def pressed(self, now):
        return self._pressure.lasting(now)

    def wants_more(self):
        return self._wants_more()

    def window_size(self, now):
        return sum(self._quotas(now).values())

    def is_active(self, run):
        return run in self._handlers.active

    def longest_handler(self, now):
        return self._handlers.longest(now)

    def unattended(self, now):
        return 0.0 if self._held_back else self._handlers.unattended(now)

    @property
    def waiting_for_window(self):
        return self._windows.waiting

    @property
    def stopping(self):
        return self._stopping

    @property
    def partitions(self):
        return self._partitions

    @property
    def reports(self):
        return self._settlement.reports

    @property
    def processed(self):
        return self.snapshot(0.0).processed

    @property
    def buffered(self):
        return self.snapshot(0.0).buffered

    @property
    def in_flight(self):
        return self.snapshot(0.0).in_flight

    @property
    def waiting(self):
        return self.snapshot(0.0).waiting

    @property
    def unfinished(self):
        return self.snapshot(0.0).unfinished

    @property
    def idle(self):
        return self._idle()

    @property
    def looked_after_at(self):
        return self._handlers.looked_at
