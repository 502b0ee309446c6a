"""The log says what an operator acts on, once, with the place."""

from __future__ import annotations

import asyncio
import logging

import pytest

from flowodm.consumer.loop.log import IN_FULL, INTERVAL, MOST_KINDS, LogObserver, ranges
from flowodm.events import (
    Abandoned,
    Blocked,
    Committed,
    DeadLettered,
    Ended,
    EndReason,
    Failed,
    Handled,
    LoopState,
    LoopStatus,
    Outcome,
    Rebalanced,
    RebalanceKind,
    Stage,
    StateChanged,
    Trouble,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(caplog, clock) -> LogObserver:
    caplog.set_level(logging.DEBUG, "flowodm.consumer")
    return LogObserver("order-processor", clock)


def failed(
    consequence: str,
    delay: float | None = None,
    error: Exception | None = None,
    offset: int = 17,
) -> Failed:
    error = error or ValueError("no")
    return Failed(Stage.HANDLER, "orders", 3, offset, 2, error, consequence, delay)


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def fields_of(caplog) -> list[dict]:
    return [record.flowodm for record in caplog.records]


def test_a_failure_that_is_tried_again_is_a_warning_with_place_and_delay(log, caplog):
    log(failed("retry", 1.5))

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.flowodm == {
        "event": "record failed",
        "group": "order-processor",
        "stage": "handler",
        "topic": "orders",
        "partition": 3,
        "offset": 17,
        "failures": 2,
        "error": "ValueError: no",
        "next": "retry",
        "retry_in": 1.5,
    }


@pytest.mark.parametrize("consequence", ["skip", "stop"])
def test_a_failure_for_good_is_an_error_with_the_traceback(log, caplog, consequence):
    log(failed(consequence))

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ValueError


def test_settled_records_and_samples_are_not_logged(log, caplog):
    log(Handled("orders", 3, {Outcome.PROCESSED: 500}, [0.001] * 500))
    log(LoopStatus(LoopState.RUNNING))
    log(Committed({("orders", 3): 500}))

    assert not caplog.records


def test_lost_records_are_an_error(log, caplog):
    log(Handled("orders", 3, {Outcome.LOST: 2}, []))
    log(Abandoned(4))

    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]


def test_the_same_trouble_is_not_logged_twice_in_a_row(log, caplog):
    for _ in range(50):
        log(Trouble("_TRANSPORT", "connection refused"))
        log(Committed({("orders", 3): 5}, error="COORDINATOR_NOT_AVAILABLE"))

    assert len(caplog.records) == 2


def test_a_lost_assignment_is_a_warning_and_a_revoked_one_is_not(log, caplog):
    partitions = (("orders", 1), ("orders", 0))

    log(Rebalanced(RebalanceKind.LOST, partitions))
    log(Rebalanced(RebalanceKind.REVOKED, partitions))

    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert "partitions=orders[0-1]" in caplog.text


# ---- nothing is logged a record, and nothing is silent ---------------------------------------


@pytest.mark.parametrize("consequence", ["skip", "stop", "retry", "dead_letter", "error_handler"])
def test_ten_thousand_failures_are_a_few_lines_and_their_count(log, caplog, clock, consequence):
    for offset in range(10_000):
        log(failed(consequence, offset=offset, error=ValueError(f"order {offset} is bad")))
    assert len(caplog.records) == IN_FULL
    clock.now += INTERVAL
    log(LoopStatus(LoopState.RUNNING))

    *_, last = caplog.records
    assert len(caplog.records) == IN_FULL + 1
    assert last.levelno == caplog.records[0].levelno
    assert last.exc_info is None
    assert last.flowodm == {
        "event": "repeated: record failed",
        "group": "order-processor",
        "stage": "handler",
        "next": consequence,
        "error": "ValueError",
        "more": 10_000 - IN_FULL,
        "within": INTERVAL,
        "topic": "orders",
        "partition": 3,
        "offset": 9_999,
    }


def test_failures_that_go_on_are_logged_in_full_again_after_each_interval(log, caplog, clock):
    for _ in range(3):
        for _ in range(100):
            log(failed("skip"))
        clock.now += INTERVAL
        log(LoopStatus(LoopState.RUNNING))

    assert [fact.get("more", 1) for fact in fields_of(caplog)] == 3 * [
        *IN_FULL * [1],
        100 - IN_FULL,
    ]


def test_a_few_failures_are_not_summed_up(log, caplog, clock):
    for _ in range(IN_FULL):
        log(failed("skip"))
    clock.now += INTERVAL
    log(LoopStatus(LoopState.RUNNING))

    assert len(caplog.records) == IN_FULL


def test_a_new_kind_of_failure_is_logged_in_the_flood_of_another(log, caplog):
    for _ in range(1_000):
        log(failed("skip"))
    log(failed("skip", error=KeyError("id")))
    log(failed("stop"))
    log(failed("skip", error=raised(ValueError("raised here"))))

    assert [fact["error"] for fact in fields_of(caplog)[IN_FULL:]] == [
        "KeyError: 'id'",
        "ValueError: no",
        "ValueError: raised here",
    ]


def test_kinds_without_end_are_bounded_and_counted(log, caplog):
    for number in range(10_000):
        log(failed("skip", error=type(f"Error{number}", (Exception,), {})()))
    log(Ended(EndReason.STOP))

    repeated = next(fact for fact in fields_of(caplog) if fact["event"].startswith("repeated"))
    assert repeated["more"] == 10_000 - MOST_KINDS - IN_FULL
    assert repeated["kinds"] == "several"
    assert len(caplog.records) == MOST_KINDS + IN_FULL + 2


def test_lost_records_are_all_in_the_sum(log, caplog):
    for _ in range(100):
        log(Handled("orders", 3, {Outcome.LOST: 7}, []))
    log(Ended(EndReason.STOP))

    assert sum(fact.get("more", fact.get("lost", 0)) for fact in fields_of(caplog)[:-1]) == 700
    assert fields_of(caplog)[-1]["lost"] == 700


def test_trouble_that_goes_on_is_summed_up_after_the_interval(log, caplog, clock):
    for number in range(50):
        log(Trouble("_TRANSPORT", f"attempt {number}"))
    clock.now += INTERVAL
    log(LoopStatus(LoopState.RUNNING))

    first, last = fields_of(caplog)
    assert first["error"] == "attempt 0"
    assert (last["code"], last["more"], last["error"]) == ("_TRANSPORT", 49, "attempt 49")


def test_dead_letters_have_no_line_of_their_own(log, caplog):
    log(DeadLettered("orders", 3, 17, "orders.dlt"))

    assert not caplog.records


def test_a_blocked_event_loop_is_a_warning_that_names_the_place(log, caplog):
    log(Blocked(1.04, "charge (shop.handlers:12)"))
    log(Blocked(31.04, "charge (shop.handlers:12)", again=True))

    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    blocks, still = (record.getMessage() for record in caplog.records)
    assert blocks.startswith("event loop blocked")
    assert blocks.endswith("where=charge (shop.handlers:12) seconds=1.0")
    assert still.startswith("event loop still blocked")
    assert still.endswith("where=charge (shop.handlers:12) seconds=31.0")


# ---- the last line -----------------------------------------------------------------------------


def test_the_last_line_says_why_it_ended_and_what_was_done(log, caplog, clock):
    log(Handled("orders", 3, {Outcome.PROCESSED: 500, Outcome.SKIPPED: 2}, []))
    log(Handled("orders", 4, {Outcome.PROCESSED: 1}, []))
    log(Abandoned(4))
    clock.now += 12.34
    log(StateChanged(LoopState.STOPPED))
    log(Ended(EndReason.SIGNAL, drain_seconds=0.25))

    last = caplog.records[-1]
    assert last.levelno == logging.INFO
    assert last.flowodm == {
        "event": "loop ended",
        "group": "order-processor",
        "reason": "signal",
        "processed": 501,
        "skipped": 2,
        "unfinished": 4,
        "run_seconds": 12.3,
        "drain_seconds": 0.25,
    }


def test_the_last_line_is_an_error_if_run_raises_one(log, caplog):
    log(Ended(EndReason.ERROR, ValueError("no")))
    log(Ended(EndReason.CANCELLED, asyncio.CancelledError()))

    first, second = caplog.records
    assert (first.levelno, first.flowodm["error"]) == (logging.ERROR, "ValueError: no")
    assert second.levelno == logging.INFO


def test_what_was_held_back_is_said_before_the_last_line(log, caplog):
    for _ in range(10):
        log(failed("skip"))
    log(Ended(EndReason.STOP))

    *_, repeated, last = fields_of(caplog)
    assert repeated["more"] == 10 - IN_FULL
    assert last["event"] == "loop ended"


# ---- partitions ---------------------------------------------------------------------------------


def test_partitions_are_named_as_ranges():
    named = ranges([("b", 1), ("a", 0), ("a", 2), ("a", 1), ("a", 7)])

    assert named == "a[0-2],a[7],b[1]"


def test_no_partition_is_named_none():
    assert ranges([]) == "none"


def test_a_thousand_gaps_are_cut():
    named = ranges([("a", number) for number in range(0, 2_000, 2)])

    assert named.startswith("a[0],a[2],")
    assert named.endswith("and 980 more ranges")
