"""The command's way of running a supervisor, for stand-in workers: prints its URL, then runs.

Arguments: the configuration as JSON; "hold-pipes" forks a child that keeps a copy of all
that is open, the workers' pipes included, once the fleet is ready; "terminal" makes stdin the
controlling terminal; "cgroup=FOLDER" makes it a member of that cgroup first.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
import termios
import time
from pathlib import Path

import standins

from supervisor import Supervisor, SupervisorConfig, logs
from supervisor.cli.signals import handled
from support.waiting import wait_until_async


def fork_a_holder() -> int:
    """A child that keeps a copy of all that is open."""
    if (pid := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    return pid


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main() -> int:
    if "terminal" in sys.argv:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    config = SupervisorConfig.model_validate(json.loads(sys.argv[1]))
    logs.configure(level="info", fmt="json", fields={"pid": os.getpid()})
    supervisor = Supervisor(config, entry=standins.ENTRY)
    with handled(supervisor):
        run = asyncio.create_task(supervisor.run())
        address = await wait_until_async(lambda: supervisor.http_address, 10, "it listens")
        say("http://{}:{}".format(*address))
        if "hold-pipes" in sys.argv:
            await wait_until_async(lambda: supervisor.ready, 20, "it is ready")
            say(fork_a_holder())
        return (await run).status


def enter_cgroups() -> None:
    for flag in sys.argv:
        if flag.startswith("cgroup="):
            Path(flag.removeprefix("cgroup="), "cgroup.procs").write_text(str(os.getpid()))


if __name__ == "__main__":
    enter_cgroups()
    sys.exit(asyncio.run(main()))
