"""What was put back is noted in a commit, and nothing that stays is passed over."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.dead_letters.replay_progress import LONGEST_NOTE, NOTE, ReplayProgress


def test_nothing_looked_at_leaves_the_offset_where_it_is():
    assert (ReplayProgress(7).offset, ReplayProgress(7).note) == (7, "")


def test_without_one_that_stays_the_offset_is_behind_the_last_one():
    progress = ReplayProgress(0)

    progress.done(5)
    progress.done(90)

    assert (progress.offset, progress.note) == (91, "")


def test_the_first_one_that_stays_holds_the_offset_and_the_others_are_noted():
    progress = ReplayProgress(0)
    progress.done(5)
    progress.left(6)
    progress.done(9)

    again = ReplayProgress(progress.offset, progress.note)

    assert progress.offset == 6
    assert [offset for offset in range(12) if again.is_done(offset)] == [9]


def test_what_an_earlier_replay_has_noted_is_kept_by_one_that_ends_before_it():
    first = ReplayProgress(0)
    first.left(0)
    first.done(1_000)
    second = ReplayProgress(first.offset, first.note)
    second.done(0)

    third = ReplayProgress(second.offset, second.note)

    assert second.offset == 1
    assert third.is_done(1_000)


@pytest.mark.parametrize("note", ["", "somebody's", NOTE, NOTE + "!", NOTE + "AAAA", NOTE + "é"])
def test_a_note_that_is_not_ours_says_nothing(note):
    assert not any(ReplayProgress(0, note).is_done(offset) for offset in range(100))


def test_what_stands_together_is_noted_in_a_few_bytes():
    progress = ReplayProgress(0)
    progress.left(0)
    for offset in range(100_000, 101_000):
        progress.done(offset)

    assert len(progress.note) < 200


def test_a_note_without_any_order_takes_20_000_and_one_more_batch_fits_into_4096_bytes():
    progress, chance, reached = ReplayProgress(0), random.Random(1), 0
    progress.left(0)
    while len(progress.note) <= LONGEST_NOTE:
        for offset in range(reached + 1, reached + 101):
            if chance.random() < 0.5:
                progress.done(offset)
        reached += 100
    assert reached >= 20_000
    assert len(progress.note) <= 4_096


runs = st.lists(st.tuples(st.sets(st.integers(0, 60)), st.integers(0, 60)), max_size=6)


@given(st.sets(st.integers(0, 60)), runs)
def test_over_all_runs_each_one_is_put_back_once_and_none_is_passed_over(offsets, runs):
    put_back, offset, note = [], 0, ""

    def run(wanted, until):
        nonlocal offset, note
        progress = ReplayProgress(offset, note)
        for each in sorted(o for o in offsets if o >= offset):
            if len(put_back) == until:
                break
            if progress.is_done(each):
                progress.done(each)
            elif each in wanted:
                put_back.append(each)
                progress.done(each)
            else:
                progress.left(each)
        offset, note = progress.offset, progress.note

    for wanted, limit in runs:
        run(wanted, len(put_back) + limit)
    run(offsets, None)

    assert sorted(put_back) == sorted(offsets)


few = st.sets(st.integers(0, 40))


@given(few, few, few)
def test_one_that_was_not_acknowledged_comes_again_and_the_others_do_not(offsets, stay, refused):
    """A batch is looked at as a whole, and then the answers to its records come in."""
    progress = ReplayProgress(0)
    for offset in sorted(offsets & stay):
        progress.left(offset)
    for offset in sorted(offsets - stay):
        (progress.left if offset in refused else progress.done)(offset)

    again = ReplayProgress(progress.offset, progress.note)

    todo = [o for o in offsets if o >= progress.offset and not again.is_done(o)]
    assert set(todo) == offsets & (stay | refused)


def test_the_note_is_no_slower_for_the_millionth_one():
    progress = ReplayProgress(0)
    progress.left(0)
    for offset in range(1, 1_000_001):
        progress.done(offset)

    began = time.process_time()
    for _ in range(10):
        assert len(progress.note) < 1_000
    assert time.process_time() - began < 1.0
