"""An init for the supervisor as process 1 of a container: forwards signals, reaps all children.

A process that loses its parent in a PID namespace becomes a child of process 1, which has to wait
for it: otherwise processes that handlers have started would remain as zombies (man 7
pid_namespaces). The supervisor waits for its own children only. As process 1 it therefore goes on
in a child, and the parent is the init.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NoReturn

FORWARDED = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
)
"""Signals that the init forwards to the supervisor."""
SI_KERNEL = 0x80
"""siginfo_t.si_code of a signal that a terminal has sent (man 2 sigaction)."""
ORPHANS_TIMEOUT = 600.0
"""Seconds that workers get to drain by themselves after their supervisor was killed."""


def serve_as_init() -> None:
    """Fork if this is process 1: the child returns, the parent serves as its init.

    Call it while there is one thread and no event loop.
    """
    if os.getpid() != 1:
        return
    signals = FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    _serve(child, signals)


def _serve(child: int, signals: frozenset[signal.Signals]) -> NoReturn:
    """Forward signals and reap children until the supervisor has ended."""
    while True:
        info = signal.sigwaitinfo(signals)
        if info.si_signo == signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                os._exit(_wait_for_orphans(status, signals))
        elif info.si_code != SI_KERNEL:  # a terminal signals the child itself
            os.kill(child, info.si_signo)


def _reap(child: int) -> int | None:
    """Wait for all processes that have ended; return the exit status of the child if it has."""
    exit_status = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return exit_status
        if pid == 0:
            return exit_status
        if pid == child:
            exit_status = os.waitstatus_to_exitcode(status)


def _wait_for_orphans(status: int, signals: frozenset[signal.Signals]) -> int:
    """Return our exit status, after the workers of a killed supervisor have drained.

    When process 1 ends, the kernel kills every process of the namespace by SIGKILL.
    """
    deadline = time.monotonic() + (ORPHANS_TIMEOUT if status < 0 else 0.0)
    while (left := deadline - time.monotonic()) > 0:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break  # no process is left
        signal.sigtimedwait(signals, min(left, 1.0))
    return status if status >= 0 else 128 - status
