"""Partitions pinned by size, and where those begin that came later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.consumer import MOST_WORKERS, ConsumerTable
from supervisor.config.topic_size import TopicSize, fewest, too_many

TABLE = {"model": "shop:Order", "handler": "shop:handle"}


def slots(size, count):
    return ConsumerTable.model_validate({**TABLE, "partitions_per_worker": size}).slots(count)


def test_each_worker_holds_as_many_as_are_written_and_the_last_one_the_rest():
    assert slots(2, 5) == ((0, 1), (2, 3), (4,))
    assert slots(9, 4) == ((0, 1, 2, 3),)


def test_as_long_as_nobody_knows_the_topic_there_is_one_worker_without_partitions():
    assert slots(2, None) == ((),)


@given(size=st.integers(1, 50), count=st.integers(1, 500), more=st.integers(0, 100))
def test_every_partition_is_in_one_worker_and_growth_moves_none_to_another(size, count, more):
    before, after = slots(size, count), slots(size, count + more)

    assert [number for group in before for number in group] == list(range(count))
    assert all(set(old) <= set(new) for old, new in zip(before, after, strict=False))


def test_a_partition_that_came_later_is_read_from_its_beginning():
    size = TopicSize.heard(TopicSize.heard(None, 4), 6)

    assert size == TopicSize(6, at_first=4)
    assert size.begin(None, [4, 5]) == size.begin("latest", [4, 5]) == {"4": 0, "5": 0}
    assert size.begin({"4": 7}, [3, 4, 5]) == {"4": 7, "5": 0}


@pytest.mark.parametrize("wanted", [None, "latest", "earliest", 7, {"0": 3}, "2026-01-01T00:00Z"])
def test_one_that_was_there_from_the_first_begins_where_the_consumer_says(wanted):
    assert TopicSize(6, at_first=4).begin(wanted, [2, 3]) == wanted


@pytest.mark.parametrize("wanted", ["earliest", 7, "2026-01-01T00:00Z"])
def test_a_start_that_loses_nothing_or_is_meant_stays_for_a_partition_that_came_later(wanted):
    assert TopicSize(6, at_first=4).begin(wanted, [4]) == wanted


def test_a_size_that_needs_too_many_workers_is_refused_with_one_that_does_not():
    assert too_many(2, 2 * MOST_WORKERS, "orders") is None
    assert too_many(2, 2 * MOST_WORKERS + 1, "orders") == (
        "the 2001 partitions of orders would need 1001 workers, more than 1000"
    )
    assert too_many(fewest(2001), 2001, "orders") is None
