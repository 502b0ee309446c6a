from __future__ import annotations

from flowodm.cli.process import STATUSES, ExitStatus


def test_help_names_every_exit_status():
    for status in ExitStatus:
        assert f"  {status.value:<3} " in STATUSES, status
