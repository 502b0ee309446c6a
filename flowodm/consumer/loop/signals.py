"""SIGTERM and SIGINT while a loop runs: the first asks it to stop, the second means now."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(stop: Callable[[int], None], *, enabled: bool) -> Iterator[None]:
    """Call ``stop(signum)`` on each of the two signals; put the old handlers back at the end.

    Outside the main thread, where Python allows no signal handlers, it does nothing: the loop
    is then stopped by its ``stop()``.
    """
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(signum: int, _frame: FrameType | None) -> None:
        stop(signum)

    previous = {signum: signal.signal(signum, handler) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        for signum, old in previous.items():
            # None: the handler was installed by C code, which Python cannot put back.
            signal.signal(signum, signal.SIG_DFL if old is None else old)
