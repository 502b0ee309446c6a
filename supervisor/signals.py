"""Signals of the command `flowodm-supervisor`; the `Supervisor` itself installs none."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.daemon import Supervisor


@contextlib.contextmanager
def handled(supervisor: Supervisor) -> Iterator[None]:
    """Let signals stop the supervisor while the context is open.

    SIGTERM and SIGINT drain, and the second of them means now; SIGQUIT means now. SIGHUP, which
    a terminal sends when it goes away, drains, unless it was ignored (nohup). The handlers
    only put a request into the supervisor's inbox.
    """
    loop = asyncio.get_running_loop()
    actions: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGTERM: supervisor.stop,
        signal.SIGINT: supervisor.stop,
        signal.SIGQUIT: partial(supervisor.stop, now=True),
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        actions[signal.SIGHUP] = supervisor.stop
    for number, action in actions.items():
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in actions:
            loop.remove_signal_handler(number)
