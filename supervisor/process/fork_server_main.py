"""The fork server's program: import once what all workers need, then fork on request.

It runs in a process of its own, which the supervisor starts. `multiprocess` does the forking
and the reaping. Nothing here may start a thread or make a Kafka client: neither survives a
fork (librdkafka issue 2374).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import signal
import sys
from pathlib import Path

from multiprocess import forkserver

from supervisor.process.launch import print_redacted


def serve(listener_fd: int, alive_fd: int, address: str, modules: list[str]) -> None:
    """Fork workers until every holder of the pipe's other end is gone.

    Args:
        listener_fd: The listening socket that fork requests arrive at.
        alive_fd: The read end of the pipe whose write end the supervisor and all workers hold.
        address: The socket's path, removed at the end with its folder: the supervisor may
            have been killed and cannot do it.
        modules: What to import. One that fails is reported and left to the worker that needs
            it, which can say for which consumer.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 - the user's module may raise anything
            sys.stderr.write(f"flowodm-supervisor: preloading {module} failed:\n")
            print_redacted()
    # What exists now lives as long as the process: keeping the collector away from it keeps
    # the pages shared between all workers.
    gc.collect()
    gc.freeze()
    # A service manager may signal every process: the server is needed until the last worker
    # has been reaped, and ends by itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        forkserver.main(listener_fd, alive_fd, [])
    finally:
        with contextlib.suppress(OSError):
            Path(address).unlink(missing_ok=True)
            Path(address).parent.rmdir()
