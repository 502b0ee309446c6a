"""What a module registers with atexit runs where a worker ends, as in any other program."""

from __future__ import annotations

from support.fleets.fleets import embedded, slots, until

LEAVING = """
import atexit, logging, os
from pathlib import Path

@atexit.register
def leave():
    Path(f"left-{os.getpid()}").touch()
    logging.getLogger("mine").warning("leaving %d", os.getpid())
"""


async def test_those_of_modules_imported_before_the_fork_too(tmp_path, monkeypatch, capfd):
    (tmp_path / "leaving.py").write_text(LEAVING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    async with embedded({"orders": "steady"}, preload=["standins", "leaving"]) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        pid = slots(supervisor)["orders/0"]["pid"]
    assert (tmp_path / f"left-{pid}").exists()
    assert f"leaving {pid}" in capfd.readouterr().err
