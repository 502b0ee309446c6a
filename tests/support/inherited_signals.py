"""Signals that whoever started the tests has ignored.

A shell without job control starts background jobs with SIGINT and SIGQUIT ignored, nohup its
command with SIGHUP ignored. Whatever a test starts inherits that, and so would not end by Ctrl-C.
"""

from __future__ import annotations

import signal


def heed_signals() -> None:
    """Give ignored signals the effect that they have on a program started from a terminal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # The tests themselves go on under nohup; no child inherits a handler.
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)
