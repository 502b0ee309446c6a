"""The fork server's program: imports the modules that workers need, then forks on request.

It runs in a process of its own, which the supervisor starts. `multiprocess` forks and reaps.
Nothing here may start a thread or make a Kafka client: neither survives a fork (librdkafka
issue 2374).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

from multiprocess import forkserver

from supervisor.process.launch import print_redacted


def serve(listener_fd: int, alive_fd: int, address: str, modules: list[str]) -> None:
    """Fork workers until every process that holds the pipe's other end is gone.

    Args:
        listener_fd: The listening socket for fork requests.
        alive_fd: The read end of a pipe; the supervisor and all workers hold its write end.
        address: The socket's path. It is removed at the end with its folder, as the supervisor
            may have been killed.
        modules: The modules to import. If one fails, that is printed; the worker that needs it
            will fail and report for which consumer.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 - the user's module may raise anything
            sys.stderr.write(f"flowodm-supervisor: preloading {module} failed:\n")
            print_redacted()
    # These objects live as long as the process. The collector would write to them, and the
    # workers would no longer share their pages.
    gc.collect()
    gc.freeze()
    # A service manager may signal every process, but the server has to reap the last worker;
    # then it exits by itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _adapt_multiprocess()
    try:
        forkserver.main(listener_fd, alive_fd, [])
    finally:
        with contextlib.suppress(OSError):
            Path(address).unlink(missing_ok=True)
            Path(address).parent.rmdir()


def _adapt_multiprocess() -> None:
    """Give `multiprocess` of each Python the behaviour that it has on Linux with Python 3.11."""
    # Since Python 3.13 a child forgets the exit functions of the modules imported here. Logging's
    # own is one of them: without it the last lines of a worker's log are lost.
    forkserver.atexit = SimpleNamespace(
        _clear=lambda: None,
        register=atexit.register,
        _run_exitfuncs=atexit._run_exitfuncs,  # noqa: SLF001 - as `multiprocess` calls it
    )
    # Since Python 3.14 each request is acknowledged, also on Linux. The supervisor does not wait
    # for that. Where it is gone the acknowledgement fails, and the descriptors stay open in here,
    # the one that keeps this process alive included.
    forkserver.reduction = SimpleNamespace(recvfds=_receive_fds)


def _receive_fds(request: socket.socket, limit: int) -> list[int]:
    """Receive the file descriptors of one request; on macOS acknowledge them.

    Raises:
        EOFError: The supervisor has died before it sent them.
    """
    data, fds, _flags, _address = socket.recv_fds(request, 1, limit)
    if not data:
        raise EOFError
    if sys.platform == "darwin":
        request.send(b"A")
    return fds
