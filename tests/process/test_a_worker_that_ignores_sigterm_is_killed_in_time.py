from __future__ import annotations

import time

from supervisor.report import ExitStatus
from supervisor.slot.restart import ExitClass
from support.fleets.fleets import embedded, until


async def test_all_are_drained_termed_and_killed_in_parallel_within_their_deadlines():
    supervisor = embedded(
        {"deaf": ("stubborn", {"workers": 3}), "good": "steady"},
        drain_timeout="500ms",
        kill_delay="300ms",
    )
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        began = time.monotonic()
        supervisor.stop()
    took = time.monotonic() - began
    assert 0.8 <= took < 2
    *deaf, good = supervisor.report.workers
    assert all(w.killed and w.reason is ExitClass.KILLED and 0.8 <= w.seconds < 2 for w in deaf)
    assert good.clean
    assert good.seconds < 0.5
    assert supervisor.report.status is ExitStatus.UNCLEAN


async def test_one_whose_main_thread_sees_no_signal_is_told_over_the_pipe_not_to_wait():
    supervisor = embedded({"busy": "busy"}, drain_timeout="300ms", kill_delay="10s")
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
    assert supervisor.report.workers[0].clean
    assert 0.3 <= supervisor.report.seconds < 5
