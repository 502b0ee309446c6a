"""The log says what an operator acts on, once, with the place."""

from __future__ import annotations

import logging

import pytest

from flowodm.consumer.journal import Journal
from flowodm.events import (
    Abandoned,
    Committed,
    Failed,
    Handled,
    LoopState,
    LoopStatus,
    Outcome,
    Rebalanced,
    RebalanceKind,
    Stage,
    Trouble,
)


@pytest.fixture
def journal(caplog) -> Journal:
    caplog.set_level(logging.DEBUG, "flowodm.consumer")
    return Journal("order-processor")


def failed(consequence: str, delay: float | None = None) -> Failed:
    return Failed(Stage.HANDLER, "orders", 3, 17, 2, ValueError("no"), consequence, delay)


def test_a_failure_that_is_tried_again_is_a_warning_with_place_and_delay(journal, caplog):
    journal(failed("retry", 1.5))

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
def test_a_failure_for_good_is_an_error_with_the_traceback(journal, caplog, consequence):
    journal(failed(consequence))

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ValueError


def test_settled_records_and_samples_are_not_logged(journal, caplog):
    journal(Handled("orders", 3, {Outcome.PROCESSED: 500}, [0.001] * 500))
    journal(LoopStatus(LoopState.RUNNING))
    journal(Committed({("orders", 3): 500}))

    assert not caplog.records


def test_lost_records_are_an_error(journal, caplog):
    journal(Handled("orders", 3, {Outcome.LOST: 2}, []))
    journal(Abandoned(4))

    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]


def test_the_same_trouble_is_not_logged_twice_in_a_row(journal, caplog):
    for _ in range(50):
        journal(Trouble("_TRANSPORT", "connection refused"))
        journal(Committed({("orders", 3): 5}, error="COORDINATOR_NOT_AVAILABLE"))

    assert len(caplog.records) == 2


def test_a_lost_assignment_is_a_warning_and_a_revoked_one_is_not(journal, caplog):
    partitions = (("orders", 1), ("orders", 0))

    journal(Rebalanced(RebalanceKind.LOST, partitions))
    journal(Rebalanced(RebalanceKind.REVOKED, partitions))

    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert "partitions=orders[0],orders[1]" in caplog.text
