"""before_processing: whatever happens to members, no handler sees a record a second time."""

from __future__ import annotations

import pytest

from support.members import GROUPS, Members

KEYS = 24
TOTAL = 24_000


@pytest.mark.parametrize(("protocol", "static"), GROUPS)
def test_no_record_is_handled_twice_before_processing(new_bench, tmp_path, protocol, static):
    """What a kill may lose is what its member had committed ahead, some 0.1 s of work."""
    bench = new_bench(partitions=6)
    bench.produce(range(TOTAL), partition=lambda n: n % 6, key=lambda n: b"%d" % (n % KEYS))
    before = {"commit_strategy": "before_processing"}
    with Members(bench, tmp_path, protocol, static=static, **before) as group:
        first = group.start("one").until_handled(50)
        second = group.start("two", "async").until_assigned()
        third = group.start("three", "threads").until_assigned().until_handled(100)
        second.until_handled(50)
        group.kill(second)
        first.until_handled(100)
        first.stop()
        third.until_assigned(2)
        fourth = group.start("one.again", "async").until_assigned().until_handled(50)
        group.hurry()
        group.until_committed()
        third.stop()
        fourth.stop()

        assert group.repeated() == []
        assert group.offsets_went_back() == []
        assert group.overlaps() == []
        assert group.out_of_order(KEYS) == []
        lost = set(range(TOTAL)) - group.numbers()
        assert len(lost) < 1_000, "only what one member had committed ahead"
        assert group.lost_with_partitions(lost)
