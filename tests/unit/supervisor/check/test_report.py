"""What a consumer's table comes to, in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from supervisor.check.report import failures, guarantee, start, workers
from supervisor.config.consumer import ConsumerTable
from supervisor.config.topic_size import TopicMetadata

SEEN = TopicMetadata("t", {"t": 3})


def table(**written):
    return ConsumerTable.model_validate({"model": "a:B", "handler": "a:b", **written})


AFTER = {"commit_strategy": "after_processing"}
LETTERS = {"dead_letter_topic": "dead"}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "it is logged, counted and skipped"),
        ({"on_failure": "stop"}, "the worker stops; the message is not committed"),
        (AFTER, "the worker stops; the message is not committed"),
        ({**AFTER, "on_failure": "skip"}, "it is logged, counted and skipped"),
        ({"error_handler": "a:e"}, "a:e is called"),
        ({"max_retries": 0, "retry_on": ["OSError"]}, "it is logged, counted and skipped"),
        ({"max_retries": 1}, "1 retry, then it is logged, counted and skipped"),
        (
            {"max_retries": 3, "retry_on": ["OSError", "a:E"], "never_retry": ["a:F"]},
            "3 retries of OSError, a:E, never of a:F, then it is logged, counted and skipped",
        ),
        (
            LETTERS,
            (
                "a copy goes to dead; the worker stops if more than 50% of the last 100 messages "
                "go there"
            ),
        ),
        ({**LETTERS, "dead_letter_limit": 1}, "a copy goes to dead"),
        (
            {**LETTERS, "dead_letter_limit": 0.005, "error_handler": "a:e"},
            (
                "a copy goes to dead, then a:e is called; the worker stops if more than 0.5% of "
                "the last 100 messages go there"
            ),
        ),
    ],
)
def test_what_becomes_of_a_failed_record(written, words):
    assert failures(table(**written)) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "about 100 ms of work"),
        ({"commit_ahead": 0}, "loses what was in flight; a stop loses nothing"),
        (AFTER, "1 s at most"),
        ({**AFTER, "commit_interval": "5s"}, "5 s at most"),
    ],
)
def test_the_delivery_guarantee_says_what_a_crash_costs(written, words):
    assert words in guarantee(table(**written))


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ("earliest", "at the earliest record"),
        (42, "at offset 42"),
        ({3: 7, 0: 100}, "at offset 100 of partition 0, 7 of partition 3"),
        (datetime(2026, 1, 31, 8, tzinfo=UTC), "at the first record since 2026-01-31T08:00:00+00"),
    ],
)
def test_where_a_group_begins(position, words):
    assert words in start(position)


@pytest.mark.parametrize(
    ("written", "seen", "words"),
    [
        ({"workers": 2}, SEEN, "2, sharing the group's partitions (static)"),
        ({"partition_groups": [[0, 1], [2]]}, None, "2, pinned to partitions 0, 1; 2"),
        (
            {"partitions_per_worker": 2},
            None,
            "as many as the topic needs with 2 partitions pinned to each",
        ),
        (
            {"partitions_per_worker": 2},
            SEEN,
            "2, pinned to partitions 0, 1; 2, and more when the topic grows",
        ),
    ],
)
def test_how_many_workers_there_are_and_what_each_of_them_holds(written, seen, words):
    assert workers(table(**written), seen) == words
