"""What was put back is noted in a commit, and nothing that stays is passed over."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.progress import LONGEST_NOTE, NOTE, ReplayProgress


def test_nothing_looked_at_is_nothing_to_commit():
    assert ReplayProgress().offset is None
    assert ReplayProgress(7).offset == 7


def test_without_one_that_stays_the_offset_is_behind_the_last_one():
    progress = ReplayProgress()

    progress.done(5)
    progress.done(90)

    assert (progress.offset, progress.note) == (91, "")


def test_the_first_one_that_stays_holds_the_offset_and_the_others_are_noted():
    progress = ReplayProgress()
    progress.done(5)
    progress.left(6)
    progress.done(9)

    again = ReplayProgress(progress.offset, progress.note)

    assert progress.offset == 6
    assert [offset for offset in range(12) if again.is_done(offset)] == [9]


def test_what_an_earlier_replay_has_noted_is_kept_by_one_that_ends_before_it():
    first = ReplayProgress()
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
    progress = ReplayProgress()
    progress.left(0)
    for offset in range(100_000, 101_000):
        progress.done(offset)

    assert len(progress.note) < 200


def test_a_note_without_any_order_takes_20_000_and_one_more_batch_fits_into_4096_bytes():
    progress, chance, reached = ReplayProgress(), random.Random(1), 0
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
    put_back, offset, note = [], None, ""

    def run(wanted, until):
        nonlocal offset, note
        progress = ReplayProgress(offset, note)
        for each in sorted(o for o in offsets if o >= (offset or 0)):
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


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_one_that_was_not_acknowledged_comes_again_and_the_others_do_not(offsets, refused):
    progress = ReplayProgress()
    for offset in sorted(offsets):
        (progress.left if offset in refused else progress.done)(offset)

    again = ReplayProgress(progress.offset, progress.note)

    todo = [o for o in offsets if o >= (progress.offset or 0) and not again.is_done(o)]
    assert set(todo) == offsets & refused
