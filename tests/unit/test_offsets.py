"""The watermark advances over the contiguous prefix of settled records, and never back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.offsets import Watermark


def test_nothing_is_committable_before_the_first_record_is_settled():
    watermark = Watermark()
    watermark.deliver([5, 6])

    assert watermark.position is None


def test_a_record_settled_ahead_of_a_hole_does_not_move_the_position():
    watermark = Watermark()
    watermark.deliver([5, 6, 7])

    watermark.settle(6)
    watermark.settle(7)

    assert (watermark.position, watermark.settled_ahead) == (None, 2)


def test_filling_the_hole_moves_the_position_over_everything_settled():
    watermark = Watermark()
    watermark.deliver([5, 6, 7])
    watermark.settle(7)
    watermark.settle(6)

    watermark.settle(5)

    assert (watermark.position, watermark.settled_ahead) == (8, 0)


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
