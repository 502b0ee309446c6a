"""after_processing: every record is handled, and twice only if its member was killed."""

from __future__ import annotations

import pytest

from support.members import GROUPS, Members

KEYS = 24
TOTAL = 24_000


@pytest.mark.parametrize(("protocol", "static"), GROUPS)
def test_members_that_join_leave_and_are_killed_lose_nothing(new_bench, tmp_path, protocol, static):
    bench = new_bench(partitions=6)
    bench.produce(range(TOTAL), partition=lambda n: n % 6, key=lambda n: b"%d" % (n % KEYS))
    after = {"commit_strategy": "after_processing"}
    with Members(bench, tmp_path, protocol, static=static, **after) as group:
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

        assert group.numbers() == set(range(TOTAL))
        assert [p for p in group.repeated() if p[0].member not in group.killed] == []
        assert group.offsets_went_back() == []
        assert group.overlaps() == []
        assert group.out_of_order(KEYS) == []
