from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.demo.audit import UNCONFIRMED, Tally, partitions_of, summary, tally

PLACES = st.lists(st.sampled_from([UNCONFIRMED, 0, 1, 2, 3]), max_size=30)


def test_every_order_processed_once_is_nothing_to_complain_about():
    assert tally([0, 1, 0], [2, 0, 1]) == Tally(3, 0, (), ())
    assert tally([0, 1, 0], [2, 0, 1]).complaint("packing") == ""


def test_repeats_are_counted_and_no_complaint():
    found = tally([0, 1], [0, 1, 1, 1, 0])
    assert (found.processed, found.repeats, found.complaint("packing")) == (2, 3, "")


def test_a_confirmed_order_that_was_not_processed_is_missing():
    found = tally([0, 1, 2], [1])
    assert found.missing == (0, 2)
    assert found.complaint("packing") == "packing never processed orders 0, 2"


def test_an_unconfirmed_order_may_be_processed_or_not():
    assert tally([0, UNCONFIRMED], [0]).missing == ()
    assert tally([0, UNCONFIRMED], [0, 1]) == Tally(1, 0, (), ())


def test_an_order_that_nobody_produced_is_a_complaint():
    found = tally([0], [0, 7])
    assert found.complaint("mailing") == "mailing processed order 7, which nobody produced"


def test_a_complaint_names_a_few_orders_and_counts_the_rest():
    text = tally([0] * 9, []).complaint("packing")
    assert text == "packing never processed orders 0, 1, 2, 3, 4 and 4 more"


@given(places=PLACES, processed=st.lists(st.integers(-2, 32), max_size=60))
def test_confirmed_orders_are_either_processed_or_missing(places, processed):
    found = tally(places, processed)
    confirmed = {number for number, place in enumerate(places) if place != UNCONFIRMED}
    assert found.processed + len(found.missing) == len(confirmed)
    assert set(found.missing) == confirmed - set(processed)
    assert found.repeats == sum(count - 1 for count in Counter(processed).values())
    assert bool(found.complaint("any")) == bool(found.missing or found.unknown)


@pytest.mark.parametrize(("since", "reached"), [(0, {0, 1, 2}), (1, {1, 2}), (3, {2}), (4, set())])
def test_only_orders_from_a_number_on_show_that_a_partition_is_processed_again(since, reached):
    assert partitions_of([0, 1, 1, 2], [0, 1, 3], since=since) == reached


def test_an_order_beyond_the_produced_ones_shows_nothing():
    assert partitions_of([0], [5], since=0) == set()


def test_the_summary_says_how_many_were_produced_processed_and_restarted():
    tallies = {"packing": Tally(9, 2, (), ()), "mailing": Tally(8, 0, (4,), ())}
    assert summary(9, tallies, 1) == (
        "produced 9, processed 9 (2 repeated) by packing, "
        "8 (0 repeated, 1 left in the topic) by mailing, restarted 1"
    )
