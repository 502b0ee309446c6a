from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from fleets import alive, embedded, slots, until, until_dead

RESTARTS = 30
OPTIONS = {"workers": 2, "restart": {"initial": "1ms", "cap": "5ms", "limit": 0}}


def open_files(pid="self"):
    """What the file descriptors stand for; a pipe or a socket with a number of its own.

    What is new is looked at: what earlier tests left behind may be closed meanwhile.
    """
    found = Counter()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since, as the folder's own
            found[str(descriptor.readlink())] += 1
    return found


async def test_neither_the_supervisor_nor_its_fork_server_holds_more_than_before():
    before = open_files()
    supervisor = embedded({"bad": ("crash", OPTIONS), "good": "steady"})
    async with supervisor:
        await until(lambda: slots(supervisor)["bad/0"]["restarts"] >= 2, "it restarts")
        server = supervisor._fleet._server.pid
        at_first, servers_at_first = open_files(), open_files(server)
        await until(lambda: slots(supervisor)["bad/0"]["restarts"] >= 2 + RESTARTS, "more often")
        more = open_files() - at_first
        assert more.total() <= 9, "three descriptors a live worker, three of them at most"
        assert (open_files(server) - servers_at_first).total() <= 8
    assert not open_files() - before
    assert not alive(server)


async def test_many_supervisors_one_after_the_other_leave_nothing_open():
    before, pids = open_files(), []
    for _ in range(3):
        async with embedded({"good": "steady"}) as supervisor:
            await until(lambda s=supervisor: s.ready, "it is ready")
            pids += [slots(supervisor)["good/0"]["pid"], supervisor._fleet._server.pid]
    assert not open_files() - before
    until_dead(pids)
