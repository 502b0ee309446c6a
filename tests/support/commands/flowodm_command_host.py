"""Runs `flowodm` in children forked from here, where everything is imported already.

A line of JSON for each on stdin, its exit status on stdout. A process of its own takes half a
second for its imports, and there are a hundred of them.
"""

from __future__ import annotations

import json
import os
import sys

import flowodm.cli.app
from flowodm.cli import connecting, main
from flowodm.consumer.dead_letters import topic as dead_letter


def run(request) -> None:
    """Become the command."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for fd, path in enumerate((request["stdin"], request["stdout"], request["stderr"])):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the old one holds the next requests
    sys.argv = ["flowodm", *request["arguments"]]
    connecting.ANSWER_TIMEOUT = request["patience"]
    dead_letter.ANSWER_TIMEOUT = request["patience"] / 2
    main()


if __name__ == "__main__":
    assert flowodm.cli.app  # imported for the children
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
            break
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()
