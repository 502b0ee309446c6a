"""Signal handlers of the command `flowodm-supervisor`; a `Supervisor` itself has none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.daemon import Supervisor


REPETITION = 0.5
"""Seconds after the first SIGTERM during which another one counts as the same request."""


class _Terminations:
    """Handles SIGTERM, but ignores the repetitions of the first one."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._first: float | None = None

    def __call__(self) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first < REPETITION:
            return
        self._stop()


@contextlib.contextmanager
def handled(supervisor: Supervisor) -> Iterator[None]:
    """Handle signals for a supervisor while the context is open.

    SIGTERM and SIGINT drain; the second one kills, as SIGQUIT does at once. SIGHUP reloads the
    configuration. A process with a controlling terminal gets SIGHUP when the terminal closes, and
    drains then, unless SIGHUP was ignored (nohup). A handler only puts a request into the
    supervisor's inbox.

    A SIGTERM within `REPETITION` of the first is ignored: coreutils' timeout and tini -g send it
    to the process and to its group, so one request arrives twice. SIGINT and SIGQUIT, which come
    from a keyboard, are never ignored.
    """
    loop = asyncio.get_running_loop()
    actions: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGTERM: _Terminations(supervisor.stop),
        signal.SIGINT: supervisor.stop,
        signal.SIGQUIT: partial(supervisor.stop, now=True),
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        actions[signal.SIGHUP] = supervisor.stop if _has_terminal() else _reloading(supervisor)
    for number, action in actions.items():
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in actions:
            loop.remove_signal_handler(number)


def _has_terminal() -> bool:
    """Return whether the process has a controlling terminal (man 4 tty)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _reloading(supervisor: Supervisor) -> Callable[[], None]:
    def reload() -> None:
        supervisor.reload()  # logs what is wrong, so the result is not needed

    return reload
