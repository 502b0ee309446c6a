"""The engine's decisions, one fact at a time; test_engine_invariants.py tries all orders."""

from __future__ import annotations

import pytest

from flowodm.consumer.engine.backpressure import IDLE_FETCHES, MARGIN
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.offsets import Position, Watermark, settled_beyond
from flowodm.consumer.engine.retry import (
    CallErrorHandler,
    FailurePolicy,
    OnFailure,
    Retry,
    Skip,
    Stop,
)
from flowodm.consumer.engine.rules import Rules
from flowodm.events import Outcome, Stage
from support.engines import SteppedEngine as Engine
from support.fake_records import fake_records

A, B = ("orders", 0), ("orders", 1)
#: Seconds of a full buffer after which fetching is paused.
LASTING = Rules().fetch_wait + MARGIN


#: What handlers raise here.
FAILURE = ValueError("broken")


def engine(strategy: str = "after_processing", **rules) -> Engine:
    made = Engine(Rules(strategy=CommitStrategy(strategy), **rules))
    made.assigned([A, B])
    return made


def handle(run, count: int | None = None, seconds: float = 0.001) -> None:
    """As a loop's shell does: tick, then count."""
    for _ in range(len(run.records) if count is None else count):
        last = run.ticks[-1] if run.ticks else run.started
        run.ticks.append(last + seconds)
        run.done += 1


def key_note(settled: list[int]) -> str:
    watermark = Watermark()
    watermark.deliver(range(max(settled) + 1))
    for offset in settled:
        watermark.settle(offset)
    return watermark.committable().note


def outcomes(engine: Engine) -> dict[Outcome, int]:
    total: dict[Outcome, int] = {}
    for report in engine.reports:
        for outcome, count in report.outcomes.items():
            total[outcome] = total.get(outcome, 0) + count
    return total


class TestAfterProcessing:
    def test_a_handled_run_may_be_committed(self):
        e = engine()
        e.fetched(A, fake_records(10, 3))
        run = e.next_run(0.0)
        handle(run)

        e.finished(run)

        assert e.to_commit() == {A: Position(13)}

    def test_what_is_confirmed_is_not_committed_again(self):
        e = engine()
        e.fetched(A, fake_records(10, 3))
        run = e.next_run(0.0)
        handle(run)
        e.finished(run)

        e.committed(A, Position(13))

        assert e.to_commit() == {}

    def test_progress_inside_a_long_run_may_be_committed_while_it_goes_on(self):
        e = engine()
        e.fetched(A, fake_records(10, 3))
        run = e.next_run(0.0)

        handle(run, 2)

        assert e.to_commit() == {A: Position(12)}

    def test_what_the_previous_owner_had_settled_beyond_its_offset_is_not_handled_again(self):
        first = engine(ordering=Ordering.KEY, max_concurrent=2)
        first.fetched(A, fake_records(0, 6, keys=2))
        first.next_run(0.0)
        ahead = first.next_run(0.0)
        handle(ahead)
        first.finished(ahead)
        committed = first.to_commit()

        second = Engine(first.rules)
        second.assigned([A], committed)
        second.fetched(A, fake_records(0, 6, keys=2))
        run = second.next_run(0.0)

        assert [r.offset() for r in run.records] == [0, 2, 4]
        assert second.next_run(0.0) is None
        handle(run)
        second.finished(run)
        assert second.to_commit() == {A: Position(6)}
        assert second.quiet()

    def test_a_note_outlives_an_owner_that_has_fetched_little(self):
        note = Position(0, key_note(settled=[1, 3, 500]))
        e = Engine(Rules(strategy=CommitStrategy.AFTER_PROCESSING, ordering=Ordering.KEY))
        e.assigned([A], {A: note})
        e.fetched(A, fake_records(0, 4, keys=4))

        nothing_settled = e.to_commit()
        for _ in range(2):
            run = e.next_run(0.0)
            handle(run)
            e.finished(run)
        position = e.to_commit()[A]

        assert nothing_settled == {}  # and so nothing less than what is committed already
        assert (position.offset, settled_beyond(position)) == (4, {500})

    @pytest.mark.parametrize("ordering", Ordering)
    def test_what_comes_twice_within_one_fetch_is_dropped_too(self, ordering):
        """The client went back in the middle of it."""
        e = engine(ordering=ordering)

        twice = [*fake_records(5, 2), *fake_records(0, 9)]
        e.fetched(A, twice, log_end=lambda _: 9)
        handled = []
        while run := e.next_run(0.0):
            handled += [record.offset() for record in run.records]
            handle(run)
            e.finished(run)

        assert handled == [5, 6, 7, 8]
        assert e.to_commit() == {A: Position(9)}
        assert e.quiet()

    def test_a_note_says_nothing_of_a_log_that_begins_anew(self):
        note = Position(0, key_note(settled=[1, 3]))
        e = Engine(Rules(strategy=CommitStrategy.AFTER_PROCESSING))
        e.assigned([A], {A: note})
        e.fetched(A, fake_records(0, 1), log_end=lambda _: 4)
        e.fetched(A, fake_records(0, 2), log_end=lambda _: 0)
        e.fetched(A, fake_records(2, 2), log_end=lambda _: 4)
        handled = []
        while run := e.next_run(0.0):
            handled += [record.offset() for record in run.records]
            handle(run)
            e.finished(run)

        assert handled == [0, 0, 1, 2, 3]

    def test_a_loop_that_keeps_the_partitions_order_reads_such_a_note_too(self):
        rules = Rules(strategy=CommitStrategy.AFTER_PROCESSING)
        e = Engine(rules)
        note = Position(0, key_note(settled=[1, 3]))
        e.assigned([A], {A: note})
        e.fetched(A, fake_records(0, 4))
        run = e.next_run(0.0)
        assert [r.offset() for r in run.records] == [0, 2]
        handle(run)
        e.finished(run)

        assert e.to_commit() == {A: Position(4)}

    def test_a_key_handled_ahead_of_another_one_is_committed_as_a_note_only(self):
        e = engine(ordering=Ordering.KEY, max_concurrent=2)
        e.fetched(A, fake_records(0, 4, keys=2))
        first, second = e.next_run(0.0), e.next_run(0.0)
        handle(second)

        e.finished(second)

        ahead = e.to_commit()[A]
        assert (ahead.offset, settled_beyond(ahead)) == (0, {1, 3})
        handle(first)
        e.finished(first)
        assert e.to_commit() == {A: Position(4)}

    def test_a_result_after_the_revoke_is_not_committed(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))
        run = e.next_run(0.0)
        e.revoking([A])
        e.forget([A])
        e.assigned([A])
        handle(run)

        e.finished(run)

        assert e.to_commit() == {}

    def test_a_revoked_partition_starts_nothing_new_and_is_quiet_after_its_handler(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))
        e.fetched(B, fake_records(0, 3))
        run = e.next_run(0.0)

        e.revoking([A])

        assert run.halted
        assert not e.quiet([A])
        handle(run, 1)
        e.finished(run)
        assert e.quiet([A])
        assert e.to_commit([A]) == {A: Position(1)}
        assert e.next_run(0.0).partition.tp == B

    def test_a_lost_partition_halts_its_handler_after_the_record_it_is_at(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))
        run = e.next_run(0.0)

        e.forget([A])

        assert run.halted

    def test_a_late_answer_to_an_earlier_commit_does_not_repeat_a_later_one(self):
        e = engine()
        e.fetched(A, fake_records(10, 3))
        run = e.next_run(0.0)
        handle(run)
        e.finished(run)
        e.committed(A, Position(13))

        e.committed(A, Position(11))

        assert e.to_commit() == {}

    def test_stop_hands_out_nothing_more(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))

        e.stop()

        assert e.next_run(0.0) is None
        assert e.quiet()

    def test_records_of_a_partition_that_is_not_ours_are_dropped(self):
        e = engine()
        e.forget([A])

        e.fetched(A, fake_records(0, 3))

        assert (e.buffered, e.next_run(0.0)) == (0, None)

    @pytest.mark.parametrize("ordering", list(Ordering))
    def test_offsets_that_begin_anew_are_committed_once_too(self, ordering):
        """The topic was made again, and the consumer was reset to its beginning."""
        e = engine(ordering=ordering)
        for first, count in ((0, 100), (0, 10)):
            e.fetched(A, fake_records(first, count))
            while (run := e.next_run(0.0)) is not None:
                handle(run)
                e.finished(run)
            assert e.to_commit() == {A: Position(count)}
            e.committed(A, Position(count))

            assert e.to_commit() == {}

    @pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
    def test_records_that_come_again_within_an_assignment_are_dropped(self, strategy):
        """The client went back by itself: the log still ends where it did, or further on."""
        e = engine(strategy, ordering=Ordering.PARTITION)
        handled = []
        for first, end in ((0, 10), (0, 10), (5, 15), (12, 20)):
            e.fetched(A, fake_records(first, end - first), 0.0, lambda _: 15)
            while e.buffered:
                if (window := e.window(0.0)) is not None:
                    e.window_answered(window, ok=True)
                run = e.next_run(0.0)
                handled += [record.offset() for record in run.records]
                handle(run)
                e.finished(run)

        assert handled == list(range(20))
        assert e.buffered == 0

    def test_lower_offsets_of_a_log_that_ends_below_are_other_records(self):
        e = engine()
        e.fetched(A, fake_records(0, 10), 0.0, lambda _: 10)
        e.fetched(A, fake_records(0, 5), 0.0, lambda _: 5)

        assert e.buffered == 15

    def test_a_new_assignment_may_begin_lower(self):
        e = engine()
        e.fetched(A, fake_records(0, 10), 0.0, lambda _: 10)
        e.forget([A])
        e.assigned([A])
        e.fetched(A, fake_records(0, 10), 0.0, lambda _: 10)

        assert e.buffered == 10


class TestFailures:
    def test_a_retry_waits_in_its_lane_while_other_partitions_go_on(self):
        e = engine(failures=FailurePolicy(max_retries=1, retry_delay=5.0))
        e.fetched(A, fake_records(0, 2))
        e.fetched(B, fake_records(0, 2))
        failing = e.next_run(0.0)

        verdict = e.failed(failing, Stage.HANDLER, FAILURE, now=0.0)

        assert verdict == Retry(5.0)
        assert e.next_run(0.1).partition.tp == B
        assert e.next_run(0.1) is None
        assert e.next_due() == 5.0
        assert e.next_run(5.0) is failing

    def test_the_wait_before_a_retry_is_not_handling_time(self):
        e = engine(failures=FailurePolicy(max_retries=1, retry_delay=5.0))
        e.fetched(A, fake_records(0, 2))
        run = e.next_run(0.0)
        handle(run, 1, seconds=0.5)
        e.failed(run, Stage.HANDLER, FAILURE, now=1.0)
        e.next_run(6.0)
        run.ticks.append(6.25)
        run.done += 1

        e.finished(run)

        assert [s for report in e.reports for s in report.seconds] == [0.5, 0.25]

    def test_stop_during_the_wait_leaves_the_record_uncommitted(self):
        e = engine(failures=FailurePolicy(max_retries=1, retry_delay=5.0))
        e.fetched(A, fake_records(0, 2))
        run = e.next_run(0.0)
        handle(run, 1)
        e.failed(run, Stage.HANDLER, FAILURE, now=0.0)

        e.stop()

        assert e.next_run(100.0) is None
        assert e.quiet()
        assert e.to_commit() == {A: Position(1)}

    @pytest.mark.parametrize(
        ("policy", "verdict"),
        [
            (FailurePolicy(on_failure=OnFailure.STOP), Stop()),
            (FailurePolicy(on_failure=OnFailure.SKIP), Skip()),
            (FailurePolicy(error_handler=True), CallErrorHandler()),
        ],
    )
    def test_a_final_failure_leaves_the_run_with_its_handler(self, policy, verdict):
        e = engine(failures=policy)
        e.fetched(A, fake_records(0, 2))
        run = e.next_run(0.0)

        assert e.failed(run, Stage.HANDLER, FAILURE, now=0.0) == verdict
        assert e.in_flight == 1

    def test_a_silent_registry_does_not_hold_up_the_end_of_at_most_once(self):
        e = engine("before_processing")
        e.fetched(A, fake_records(0, 1))
        e.window_answered(e.window(0.0), ok=True)
        run = e.next_run(0.0)
        e.stop()

        assert e.failed(run, Stage.REGISTRY, FAILURE, now=0.0) == Skip()


class TestBeforeProcessing:
    def test_nothing_starts_before_its_commit_is_confirmed(self):
        e = engine("before_processing")
        e.fetched(A, fake_records(10, 3))
        window = e.window(0.0)

        assert e.next_run(0.0) is None
        assert window.offsets == {A: Position(11)}
        e.window_answered(window, ok=True)
        assert [r.offset() for r in e.next_run(0.0).records] == [10]

    def test_a_window_that_was_not_confirmed_comes_again_in_the_same_order(self):
        e = engine("before_processing", max_concurrent=4, ordering=Ordering.UNORDERED)
        e.fetched(A, fake_records(10, 3))
        e.fetched(B, fake_records(0, 3))
        window = e.window(0.0)

        e.window_answered(window, ok=False)

        assert e.window(0.0).offsets == window.offsets == {A: Position(13), B: Position(1)}

    def test_with_no_budget_the_next_record_waits_for_a_free_handler(self):
        e = engine("before_processing", commit_ahead=0.0)
        e.fetched(A, fake_records(0, 3))
        e.window_answered(e.window(0.0), ok=True)
        run = e.next_run(0.0)

        assert e.window(0.0) is None
        handle(run)
        e.finished(run)
        assert e.window(0.0).offsets == {A: Position(2)}

    def test_fast_handlers_get_growing_windows(self):
        e = engine("before_processing", commit_ahead=0.125)
        e.fetched(A, fake_records(0, 500))
        sizes = []
        while window := e.window(0.0):
            sizes.append(sum(len(records) for _, records in window.chunks))
            e.window_answered(window, ok=True)
            run = e.next_run(0.0)
            handle(run, seconds=2**-10)
            e.finished(run)

        assert sum(sizes) == 500
        assert sizes[0] == 1
        assert max(sizes) == 129  # 128 take 0.125 s, and one more has a handler at once

    def test_fast_handlers_have_more_fetched_for_their_next_window_and_slow_ones_do_not(self):
        fast, slow = (engine("before_processing", fetch_size=10) for _ in range(2))
        for e, seconds in ((fast, 2**-20), (slow, 2.0)):
            for first in range(0, 40, 10):
                e.fetched(A, fake_records(first, 10))
                while window := e.window(0.0):
                    e.window_answered(window, ok=True)
                    run = e.next_run(0.0)
                    handle(run, seconds=seconds)
                    e.finished(run)

        assert fast.wants_more()
        assert not slow.wants_more()

    def test_stop_finishes_what_is_committed_and_drops_the_rest(self):
        e = engine("before_processing")
        e.fetched(A, fake_records(0, 10))
        window = e.window(0.0)
        e.window_answered(window, ok=True)

        e.stop()

        run = e.next_run(0.0)
        assert [r.offset() for r in run.records] == [0]
        assert not run.halted
        handle(run)
        e.finished(run)
        assert (e.quiet(), e.window(0.0)) == (True, None)
        assert outcomes(e) == {Outcome.PROCESSED: 1}

    def test_stop_cuts_the_wait_before_a_retry(self):
        policy = FailurePolicy(max_retries=3, retry_delay=60.0)
        e = engine("before_processing", failures=policy)
        e.fetched(A, fake_records(0, 1))
        e.window_answered(e.window(0.0), ok=True)
        run = e.next_run(0.0)
        e.failed(run, Stage.HANDLER, FAILURE, now=0.0)

        e.stop()

        assert e.next_run(0.1) is run

    def test_a_revoke_cuts_the_waits_of_its_partition_and_of_no_other(self):
        policy = FailurePolicy(max_retries=9, retry_delay=60.0)
        e = engine("before_processing", failures=policy, max_concurrent=2)
        e.fetched(A, fake_records(0, 1))
        e.fetched(B, fake_records(0, 1))
        e.window_answered(e.window(0.0), ok=True)
        first, second = e.next_run(0.0), e.next_run(0.0)
        e.failed(first, Stage.HANDLER, FAILURE, now=0.0)
        e.failed(second, Stage.HANDLER, FAILURE, now=0.0)

        e.revoking([B])

        assert e.next_run(0.1) is second
        assert e.next_run(0.1) is None
        e.failed(second, Stage.HANDLER, FAILURE, now=0.1)
        assert e.next_run(0.1) is second

    def test_committed_records_that_are_taken_away_are_reported_as_lost(self):
        e = engine("before_processing", max_concurrent=5, ordering=Ordering.KEY)
        e.fetched(A, fake_records(0, 5, keys=1))
        e.window_answered(e.window(0.0), ok=True)
        run = e.next_run(0.0)
        handle(run, 1)

        e.forget([A])
        e.finished(run)

        assert outcomes(e) == {Outcome.PROCESSED: 1, Outcome.LOST: 4}


class TestBackPressure:
    def test_a_full_buffer_has_no_room(self):
        e = engine(fetch_size=10)
        e.fetched(A, fake_records(0, 10))
        assert e.room()

        e.fetched(A, fake_records(10, 10))

        assert not e.room()

    def test_there_is_room_beyond_two_fetches_while_handlers_have_nothing_to_do(self):
        e = engine(fetch_size=10, max_concurrent=2, ordering=Ordering.KEY)
        e.fetched(A, fake_records(0, 20, keys=1))
        assert e.room()

        e.fetched(A, fake_records(20, 20, keys=2))

        assert not e.room()

    def test_also_with_idle_handlers_the_buffer_is_bounded(self):
        e = engine(fetch_size=10, max_concurrent=2, ordering=Ordering.KEY)
        e.fetched(A, fake_records(0, 10 * IDLE_FETCHES + 1, keys=1))

        assert not e.room()

    def test_the_buffer_is_also_bounded_by_bytes(self):
        e = engine(buffer_bytes=20)

        e.fetched(A, fake_records(0, 4))

        assert not e.room()

    def test_a_buffer_that_stays_full_pauses_only_the_partitions_that_fill_it(self):
        e = engine(fetch_size=10)
        e.fetched(A, fake_records(0, 20))

        assert e.pressure(0.0) == ([], [])
        assert e.pressure(LASTING - 0.01) == ([], [])
        assert e.pressure(LASTING) == ([A], [])
        assert e.pressed(LASTING)

    def test_room_resumes_what_was_paused(self):
        e = engine(fetch_size=10)
        e.fetched(A, fake_records(0, 20))
        e.pressure(0.0)
        e.pressure(LASTING)
        run = e.next_run(0.0)
        handle(run)
        e.finished(run)

        assert e.pressure(1.0) == ([], [A])

    def test_a_handler_is_known_to_run_long_from_its_last_record_on(self):
        e = engine()
        e.fetched(A, fake_records(0, 2))
        run = e.next_run(10.0)
        handle(run, 1, seconds=5.0)

        assert e.longest_handler(18.0) == 3.0


class TestIdle:
    def test_a_partition_is_idle_while_nothing_of_it_is_in_hand(self):
        e = engine(max_concurrent=2)
        for tp in (A, B):
            e.fetched(tp, fake_records(0, 3))
        first, second = e.next_run(0.0), e.next_run(0.0)
        assert e.idle == {}

        handle(first)
        e.finished(first)
        assert e.idle == {A: 3}
        e.failed(second, Stage.REGISTRY, FAILURE, now=0.0)
        assert e.idle == {A: 3}, "a record that waits for its retry is in hand"

    def test_while_a_rebalance_waits_for_handlers_nothing_is_idle(self):
        e = engine()
        e.assigned([A], {A: Position(7)})
        e.fetched(B, fake_records(0, 3))
        e.next_run(0.0)
        assert e.idle == {A: 7}
        e.revoking([B])
        assert e.idle == {}
        e.forget([B])
        assert e.idle == {A: 7}

    def test_records_that_wait_for_a_free_hand_are_no_idleness(self):
        e = engine()
        for tp in (A, B):
            e.fetched(tp, fake_records(0, 3))
        run = e.next_run(0.0)
        assert e.idle == {}
        handle(run)
        e.finished(run)
        assert e.idle == {A: 3, B: 0}, "nobody is busy, and B is not started"

    def test_one_whose_position_is_not_known_paused_or_stopping_is_not_called_idle(self):
        e = engine()
        assert e.idle == {}
        e.assigned([A], {A: Position(7)})
        assert e.idle == {A: 7}
        e.pause(paused=True)
        assert e.idle == {}
        e.pause(paused=False)
        e.stop()
        assert e.idle == {}


class TestPause:
    def test_nothing_starts_while_it_lasts_and_all_goes_on_after_it(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))

        e.pause(paused=True)
        assert e.next_run(0.0) is None
        assert e.next_due() is None

        e.pause(paused=False)
        assert [r.offset() for r in e.next_run(0.0).records] == [0, 1, 2]

    def test_a_run_under_way_ends_behind_its_record_and_goes_on_there(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))
        run = e.next_run(0.0)
        handle(run, 1)

        e.pause(paused=True)
        assert run.halted
        e.finished(run)
        assert e.to_commit() == {A: Position(1)}
        assert e.next_run(1.0) is None

        e.pause(paused=False)
        again = e.next_run(2.0)
        assert again is run
        assert not run.halted
        assert run.done == 1

    def test_a_pause_that_is_taken_back_in_time_interrupts_nothing(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))
        run = e.next_run(0.0)

        e.pause(paused=True)
        e.pause(paused=False)

        assert not run.halted

    def test_a_run_that_was_left_just_before_the_resumption_goes_on(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))
        run = e.next_run(0.0)
        handle(run, 1)
        e.pause(paused=True)  # the handler's side sees that, and leaves the run ...

        e.pause(paused=False)
        e.finished(run)  # ... but says so only now

        assert e.next_run(1.0) is run

    def test_it_does_not_revive_a_run_whose_partition_is_gone(self):
        e = engine()
        e.fetched(A, fake_records(0, 3))
        run = e.next_run(0.0)
        e.pause(paused=True)

        e.forget([A])
        e.pause(paused=False)
        assert run.halted
        e.finished(run)

        assert e.next_run(1.0) is None

    def test_every_partition_is_paused_and_resumed(self):
        e = engine()
        e.pause(paused=True)
        assert e.pressure(0.0) == ([A, B], [])
        assert e.pressure(1.0) == ([], [])

        e.pause(paused=False)
        assert e.pressure(2.0) == ([], [A, B])

    def test_what_is_committed_ahead_is_handled_at_the_end_nevertheless(self):
        e = engine("before_processing")
        e.fetched(A, fake_records(0, 1))
        e.window_answered(e.window(0.0), ok=True)
        e.pause(paused=True)
        assert e.next_run(0.0) is None

        e.stop()

        assert e.next_run(0.0) is not None

    def test_nothing_is_committed_ahead_meanwhile(self):
        e = engine("before_processing")
        e.fetched(A, fake_records(0, 1))

        e.pause(paused=True)

        assert e.window(0.0) is None


class TestHandsThatDoNotLookForWork:
    def test_records_that_wait_for_a_free_hand_are_unattended_since_they_came(self):
        e = engine(max_concurrent=2)
        assert e.next_run(0.0) is None
        e.fetched(A, fake_records(10, 3), now=500.0)
        assert e.unattended(507.0) == 7.0

    def test_a_hand_that_looks_attends_to_all(self):
        e = engine(max_concurrent=2, ordering=Ordering.UNORDERED)
        e.fetched(A, fake_records(10, 3), now=500.0)
        e.fetched(B, fake_records(10, 3), now=500.0)
        e.next_run(506.0)
        assert e.unattended(507.0) == 1.0
        e.next_run(507.0)
        assert e.unattended(600.0) == 0.0, "no hand is free, or nothing waits"

    def test_nobody_has_to_attend_to_a_paused_loop(self):
        e = engine()
        e.fetched(A, fake_records(10, 3), now=500.0)
        e.pause(paused=True)
        assert e.unattended(600.0) == 0.0
