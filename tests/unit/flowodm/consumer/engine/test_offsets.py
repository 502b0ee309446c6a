"""The watermark advances over the contiguous prefix of settled records, and never back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.engine.offsets import NOTE, NOTE_SPAN, Position, Watermark, settled_beyond


def test_nothing_is_committable_before_the_first_record_is_settled():
    watermark = Watermark()
    watermark.deliver([5, 6])

    assert watermark.position is None


def test_a_record_settled_ahead_of_a_hole_does_not_move_the_position():
    watermark = Watermark()
    watermark.deliver([5, 6, 7])

    watermark.settle(6)
    watermark.settle(7)

    assert watermark.position is None


def test_filling_the_hole_moves_the_position_over_everything_settled():
    watermark = Watermark()
    watermark.deliver([5, 6, 7])
    watermark.settle(7)
    watermark.settle(6)

    watermark.settle(5)

    assert watermark.position == 8
    assert watermark.committable() == Position(8)


def test_offsets_that_compaction_removed_are_no_holes():
    watermark = Watermark()
    watermark.deliver([5, 90])

    watermark.settle(5)
    watermark.settle(90)

    assert watermark.position == 91


def test_records_handled_in_order_need_no_delivery():
    watermark = Watermark()

    watermark.settle_through(41)

    assert watermark.position == 42


def test_what_is_settled_beyond_a_hole_goes_into_the_note():
    watermark = Watermark()
    watermark.deliver([5, 6, 7, 90])
    watermark.settle(6)
    watermark.settle(90)

    committable = watermark.committable()

    assert committable.offset == 5
    assert settled_beyond(committable) == {6, 90}


def test_a_note_fits_into_the_brokers_limit_whatever_is_settled():
    watermark = Watermark()
    watermark.deliver(range(100_000))
    for offset in range(1, 100_000):
        watermark.settle(offset)

    committable = watermark.committable()

    assert len(committable.note.encode()) < 4096
    assert settled_beyond(committable) == set(range(1, NOTE_SPAN))


def test_what_an_earlier_owner_has_noted_and_has_not_come_yet_stays_in_the_note():
    done_before = {4, 7, 30}  # 4 never came: compaction took it
    watermark = Watermark(done_before)
    watermark.deliver([5, 6])
    watermark.settle(5)
    watermark.settle(6)

    at_the_end = watermark.committable()
    watermark.deliver([7, 8, 9])
    done_before.discard(7)
    watermark.settle(7)
    watermark.settle(9)
    with_a_hole = watermark.committable()

    assert (at_the_end.offset, settled_beyond(at_the_end)) == (7, {7, 30})
    assert (with_a_hole.offset, settled_beyond(with_a_hole)) == (8, {9, 30})


STRANGE = ["", "somebody else's", NOTE, f"{NOTE}%%%", f"{NOTE}é", "flowodm:2:AAAA"]


@pytest.mark.parametrize("note", STRANGE)
def test_a_note_that_is_not_ours_lists_nothing(note):
    assert settled_beyond(Position(7, note)) == frozenset()


@given(offset=st.integers(0, 2**62), ahead=st.sets(st.integers(1, NOTE_SPAN - 1), max_size=300))
def test_a_note_comes_back_as_it_was_written(offset, ahead):
    watermark = Watermark()
    watermark.deliver([offset, *sorted(offset + n for n in ahead)])
    for number in ahead:
        watermark.settle(offset + number)

    committable = watermark.committable()

    if ahead:
        assert committable.offset == offset
        assert settled_beyond(committable) == {offset + n for n in ahead}
    else:
        assert committable is None


@given(data=st.data(), offsets=st.sets(st.integers(0, 10_000), max_size=60))
def test_whatever_the_order_the_position_is_the_end_of_the_settled_prefix(data, offsets):
    delivered = sorted(offsets)
    watermark = Watermark()
    watermark.deliver(delivered)
    settled: set[int] = set()
    previous = None
    for offset in data.draw(st.permutations(delivered)):
        watermark.settle(offset)
        settled.add(offset)
        prefix = []
        for candidate in delivered:
            if candidate not in settled:
                break
            prefix.append(candidate)
        assert watermark.position == (prefix[-1] + 1 if prefix else None)
        assert previous is None or watermark.position >= previous
        previous = watermark.position
