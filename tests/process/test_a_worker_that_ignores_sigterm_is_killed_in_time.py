from __future__ import annotations

import time

from fleets import embedded, until

from supervisor.report import ExitStatus
from supervisor.restart import ExitClass


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
