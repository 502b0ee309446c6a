"""What observers are told: once a batch, and nothing is lost or told twice on the way."""

from __future__ import annotations

from flowodm.consumer.engine.reports import Reports
from flowodm.events import Handled, Outcome

A, B = ("orders", 0), ("orders", 1)


def test_a_partition_s_records_are_told_together():
    reports = Reports()
    reports.add(A, [0.5], {})
    reports.add(B, [0.25], {Outcome.TOMBSTONE: 1})
    reports.add(A, [1.0, 2.0], {Outcome.SKIPPED: 1})

    assert reports.records == 4
    assert reports.take() == [
        Handled("orders", 0, {Outcome.PROCESSED: 2, Outcome.SKIPPED: 1}, [0.5, 1.0, 2.0]),
        Handled("orders", 1, {Outcome.TOMBSTONE: 1}, [0.25]),
    ]


def test_what_was_taken_is_not_told_again():
    reports = Reports()
    reports.add(A, [0.5], {})
    reports.take()

    assert (reports.take(), reports.records) == ([], 0)


def test_lost_records_took_no_time():
    reports = Reports()
    reports.lost(A, 3)
    reports.lost(A, 2)

    assert reports.take() == [Handled("orders", 0, {Outcome.LOST: 5}, [])]
