"""Stops a loop on SIGTERM and SIGINT."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from flowodm.consumer.stop import StopSwitch

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NO_DESCRIPTOR = -1
"""What ``signal.set_wakeup_fd`` takes and returns for no descriptor."""


@contextmanager
def stop_on_signals(
    stop: Callable[[int], None], switch: StopSwitch, *, enabled: bool
) -> Iterator[None]:
    """Call ``stop(signum)`` on each SIGTERM and SIGINT; put the old handlers back at the end.

    Outside the main thread, where Python allows no signal handlers, it does nothing; the program
    stops the loop by its ``stop()``.

    Args:
        stop: Called in the main thread, between two instructions of whatever runs there.
        switch: Notices each signal, also one that another thread receives.
        enabled: Whether to do anything.
    """
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(signum: int, _frame: FrameType | None) -> None:
        stop(signum)

    with _noticed_by(switch):
        previous = {signum: signal.signal(signum, handler) for signum in STOP_SIGNALS}
        try:
            yield
        finally:
            for signum, old in previous.items():
                # None: C code has installed the handler, which Python cannot put back.
                signal.signal(signum, signal.SIG_DFL if old is None else old)


@contextmanager
def _noticed_by(switch: StopSwitch) -> Iterator[None]:
    """Let the switch notice signals that interrupt no call of the main thread.

    The kernel gives a signal to any thread. CPython runs its handler in the main thread, but does
    not wake that thread while it waits for a lock or for its event loop. It writes the signal's
    number to a descriptor, though (``signal.set_wakeup_fd``), which the poller looks at. If the
    program has set one of its own, as ``loop.add_signal_handler`` does, that one stays.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        others = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if others != _NO_DESCRIPTOR:
            signal.set_wakeup_fd(others)
            yield
            return
        switch.signals = reader
        try:
            yield
        finally:
            switch.signals = None
            replaced = signal.set_wakeup_fd(_NO_DESCRIPTOR)
            if replaced != writer.fileno():
                signal.set_wakeup_fd(replaced)  # the program has set another one meanwhile
