"""Being process 1, as in a container without an init: pass signals on, and reap everything.

Whatever loses its parent in a PID namespace becomes a child of its process 1, which has to wait
for it: what handlers started and left behind would stay in the table of processes for ever (man 7
pid_namespaces). The supervisor waits for its own children only, so as process 1 it puts a process
in front of itself that does nothing else.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NoReturn

FORWARDED = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
)
SI_KERNEL = 0x80
"""What siginfo_t.si_code is where a terminal's key was pressed (man 2 sigaction)."""
LAST = 600.0
"""Seconds that workers have to drain by themselves where their supervisor was killed."""


def serve_as_init() -> None:
    """As process 1, go on in a child and stay behind as its init; else do nothing.

    To be called while there is one thread and no event loop. Only the child returns.
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
    while True:
        info = signal.sigwaitinfo(signals)
        if info.si_signo == signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                os._exit(_last(status, signals))
        elif info.si_code != SI_KERNEL:  # the terminal has told the child, too
            os.kill(child, info.si_signo)


def _reap(child: int) -> int | None:
    """Wait for all that have ended; the exit status of our child, if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)


def _last(status: int, signals: frozenset[signal.Signals]) -> int:
    """Our exit status, once the workers of a killed supervisor have drained.

    The namespace ends with its process 1, and all that is in it by SIGKILL.
    """
    deadline = time.monotonic() + (LAST if status < 0 else 0.0)
    while (left := deadline - time.monotonic()) > 0:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break  # nobody is left
        signal.sigtimedwait(signals, min(left, 1.0))
    return status if status >= 0 else 128 - status
