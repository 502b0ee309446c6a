"""Invariants 1, 2, 4 and 6 of ARCHITECTURE.md, over every order of events hypothesis can find.

The machine plays Kafka, the poller and the handlers at random and keeps its own books: which
record is settled, which one is confirmed, what runs.
"""

from __future__ import annotations

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowodm.consumer.engine.backpressure import IDLE_FETCHES
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import BatchRule, Ordering
from flowodm.consumer.engine.offsets import Position, settled_beyond
from flowodm.consumer.engine.retry import FailurePolicy, OnFailure, Retry, Skip
from flowodm.consumer.engine.rules import Rules
from flowodm.events import Stage
from support.engines import SteppedEngine as Engine
from support.fake_records import fake_records

TPS = [("orders", number) for number in range(3)]


class EngineMachine(RuleBasedStateMachine):
    strategy: CommitStrategy

    @initialize(
        ordering=st.sampled_from(Ordering),
        concurrent=st.integers(1, 4),
        batch=st.none() | st.builds(BatchRule, st.integers(1, 7), st.sampled_from([0.0, 1.0])),
    )
    def start(self, ordering, concurrent, batch):
        self.now = 0.0
        if batch is not None and ordering is Ordering.KEY:
            ordering = Ordering.PARTITION  # the loops refuse batches of a key
        self.ordering = ordering
        self.engine = Engine(
            Rules(
                strategy=self.strategy,
                ordering=ordering,
                failures=FailurePolicy(1, 1.0, OnFailure.SKIP),
                max_concurrent=concurrent,
                fetch_size=5,
                batch=batch,
            )
        )
        self.log_end = dict.fromkeys(TPS, 0)  # what the broker holds
        self.committed = dict.fromkeys(TPS, Position(0))  # what the group's coordinator holds
        self.settled = defaultdict(set)
        self.owned: set = set()
        self.taken_over: dict = {}
        self.running: list = []
        self.ahead = 0  # the largest window so far

    # ---- Kafka ---------------------------------------------------------------------------

    @rule(tp=st.sampled_from(TPS))
    def assign(self, tp):
        if tp not in self.owned and not self.engine.stopping:
            self.owned.add(tp)
            self.taken_over[tp] = self.committed[tp]
            self.log_end[tp] = self.committed[tp].offset
            self.engine.assigned([tp], {tp: self.committed[tp]})

    @rule(tp=st.sampled_from(TPS), count=st.integers(1, 5), keys=st.integers(0, 2))
    def fetch(self, tp, count, keys):
        if tp in self.owned and self.engine.room():
            self.engine.fetched(tp, fake_records(self.log_end[tp], count, keys), self.now)
            self.log_end[tp] += count

    @rule(tp=st.sampled_from(TPS), lost=st.booleans())
    def take_away(self, tp, lost):
        if tp not in self.owned:
            return
        if not lost:
            self.engine.revoking([tp])
            self.confirm(self.engine.to_commit([tp]))
        self.engine.forget([tp])
        self.owned.discard(tp)

    @rule()
    def commit(self):
        self.confirm(self.engine.to_commit())

    def confirm(self, offsets):
        for tp, position in offsets.items():
            offset = position.offset
            assert offset >= self.committed[tp].offset, "a committed offset moved backwards"
            unsettled = set(range(offset)) - self.settled[tp]
            assert not unsettled, f"committed past unsettled records {sorted(unsettled)}"
            assert settled_beyond(position) <= self.settled[tp], "a note lists unsettled records"
            self.committed[tp] = position
            self.engine.committed(tp, position)

    # ---- handlers --------------------------------------------------------------------------

    @precondition(lambda self: len(self.running) < self.engine.rules.max_concurrent)
    @rule()
    def begin(self):
        run = self.engine.next_run(self.now)
        if run is None:
            return
        self.check_may_start(run)
        self.running.append(run)

    def check_may_start(self, run):
        tp = run.partition.tp
        first = run.records[run.done]
        for other in self.running:
            if other.partition is not run.partition:
                continue
            assert self.ordering is not Ordering.PARTITION, "two runs of one partition"
            same_key = first.key() is not None and other.records[0].key() == first.key()
            assert not (self.ordering is Ordering.KEY and same_key), "two runs of one key"
        if self.strategy is CommitStrategy.BEFORE_PROCESSING:
            last = run.records[-1].offset()
            assert last < self.committed[tp].offset, "a handler started before the commit"
        batch = self.engine.rules.batch
        if batch is not None:
            assert len(run.records) <= batch.size
        done = settled_beyond(self.taken_over.get(tp, Position(0)))
        assert not done & {record.offset() for record in run.records}, "handled a second time"

    @precondition(lambda self: self.running)
    @rule(index=st.integers(0, 3), count=st.integers(0, 5))
    def handle(self, index, count):
        run = self.running[index % len(self.running)]
        for _ in range(count):
            if run.done == len(run.records) or run.halted:
                break
            if not run.partition.gone:
                self.settled[run.partition.tp].add(run.records[run.done].offset())
            run.ticks.append(self.now)
            run.done += 1
        if run.done == len(run.records) or run.halted:
            self.running.remove(run)
            self.engine.finished(run)

    @precondition(lambda self: self.running)
    @rule(index=st.integers(0, 3))
    def fail(self, index):
        run = self.running[index % len(self.running)]
        if run.done == len(run.records) or run.halted:
            return
        verdict = self.engine.failed(run, Stage.HANDLER, ValueError(), self.now)
        if isinstance(verdict, Retry):
            self.running.remove(run)
            return
        assert verdict == Skip()
        self.settled[run.partition.tp].add(run.records[run.done].offset())
        run.ticks.append(self.now)
        run.done += 1

    @rule(paused=st.booleans())
    def pause(self, paused):
        self.engine.pause(paused=paused)

    @rule(seconds=st.sampled_from([0.01, 0.5, 2.0]))
    def time_passes(self, seconds):
        self.now += seconds

    # ---- always ------------------------------------------------------------------------------

    @invariant()
    def the_buffer_is_bounded_and_never_negative(self):
        if not hasattr(self, "engine"):
            return
        rules = self.engine.rules
        self.ahead = max(self.ahead, self.engine._windows.size)  # a larger window wants more
        refill = max(rules.fetch_size, 2 * rules.max_concurrent, 2 * self.ahead)
        if rules.batch is not None:  # a batch of each handler, and one more, may wait
            refill = max(refill, 2 * rules.max_concurrent * rules.batch.size)
        if self.strategy is CommitStrategy.AFTER_PROCESSING:
            refill = max(refill, IDLE_FETCHES * rules.fetch_size)  # a handler may be idle
        most = refill + rules.fetch_size
        assert 0 <= self.engine.buffered <= most
        assert self.engine._buffer.size >= 0

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        self.engine.stop()
        for _ in range(1000):
            while (run := self.engine.next_run(self.now)) is not None:
                self.check_may_start(run)
                self.running.append(run)
            if not self.running:
                break
            for index in range(len(self.running)):
                self.handle(index, 5)
        assert self.engine.quiet(), "a stopped engine still waits for something"
        self.confirm(self.engine.to_commit())
        assert self.engine.buffered == 0


class AfterProcessing(EngineMachine):
    strategy = CommitStrategy.AFTER_PROCESSING


class BeforeProcessing(EngineMachine):
    strategy = CommitStrategy.BEFORE_PROCESSING

    @rule(ok=st.booleans())
    def commit_ahead(self, ok):
        window = self.engine.window(self.now)
        if window is None:
            return
        for tp, position in window.offsets.items():
            assert position.offset > self.committed[tp].offset
            if ok:
                self.committed[tp] = position
        self.engine.window_answered(window, ok=ok)


TestAfterProcessing = AfterProcessing.TestCase
TestBeforeProcessing = BeforeProcessing.TestCase
TestAfterProcessing.settings = TestBeforeProcessing.settings = settings(
    stateful_step_count=60, deadline=None
)
