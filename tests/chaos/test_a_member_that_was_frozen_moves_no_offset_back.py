"""A process stands still for longer than its session, as a paused container or host does.

Others have its partitions by then. It wakes up in the middle of its handlers, believing that it is
a member, and the results that it has are too late.
"""

from __future__ import annotations

import os
import signal

import pytest

from support.members import PROTOCOLS, Members
from support.waiting import wait_until

TOTAL = 16_000


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_member_that_was_frozen_moves_no_offset_back(new_bench, tmp_path, protocol, strategy):
    bench = new_bench(partitions=4)
    bench.produce(range(TOTAL), partition=lambda n: n % 4, key=lambda n: b"%d" % (n % 16))
    with Members(bench, tmp_path, protocol, commit_strategy=strategy) as group:
        frozen = group.start("frozen", "threads").until_handled(50)
        other = group.start("other").until_assigned()
        frozen.until_handled(50)
        os.kill(frozen.process.pid, signal.SIGSTOP)
        try:
            other.until_assigned(2).until_handled(200)
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)
        frozen.until_handled(1)
        wait_until(lambda: frozen.count("lost"), 20, "it has learnt that it is late")
        frozen.until_assigned(2).until_handled(20)
        group.hurry()
        group.until_committed()
        frozen.stop()
        other.stop()

        assert group.offsets_went_back() == []
        if strategy == "after_processing":
            assert group.numbers() == set(range(TOTAL))
        else:
            assert group.repeated() == []
