"""The notify socket of systemd, or of another service manager with sd_notify(3).

Only the command `flowodm-supervisor run` makes a `Notifier`: a `Supervisor` inside another
program does not speak for that program.

Two lines are not sent. MAINPID=: systemd has started the supervisor itself, and behind a wrapper
or in a PID namespace the number would be wrong. BARRIER=1: it is for a process that ends right
after a notice, and this one does not.
"""

from __future__ import annotations

import logging
import os
import socket
from math import inf
from typing import TYPE_CHECKING

from supervisor.systemd.notices import ManagerState, notice

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from supervisor.instrumentation.snapshot import Snapshot

_log = logging.getLogger("supervisor")

SHORTEST_TURN = 0.01
"""Seconds between two turns of the main loop, at least, however short WatchdogSec= is."""


class Notifier:
    """An observer that tells the service manager what the fleet does.

    It neither blocks nor raises: while the socket is missing or full, each turn tries again.

    Args:
        address: NOTIFY_SOCKET: an absolute path, or "@" and a name in Linux's abstract
            namespace.
        watchdog: Seconds without WATCHDOG=1 after which the service manager acts; None if it
            does not watch.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self._address = address
        self._socket_name = os.fsencode(f"\0{address[1:]}" if address.startswith("@") else address)
        self._watchdog = watchdog
        self._state = ManagerState()
        self._warned = False

    @property
    def turn(self) -> float:
        """Longest time in seconds between two turns; infinite without a watchdog.

        It is a quarter of the watchdog's time: WATCHDOG=1 is due after half of it, and so is sent
        after three quarters at the latest.
        """
        return inf if self._watchdog is None else max(SHORTEST_TURN, self._watchdog / 4)

    def __call__(self, fleet: Snapshot) -> None:
        """Send what is due."""
        while (due := notice(self._state, fleet, self._watchdog)) is not None:
            state, text = due
            try:
                self._send(text)
            except OSError as error:
                self._warn_once(error)
                return
            self._state = state

    def _send(self, text: str) -> None:
        # A new socket each time finds a service manager that has bound its own again.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.sendto(text.encode(), self._socket_name)

    def _warn_once(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "cannot notify the service manager at %s: %s; further failures are not logged",
                self._address,
                error.strerror or error,
            )


def notifier_of(environment: MutableMapping[str, str], pid: int) -> Notifier | None:
    """Make the notifier that the environment asks for, or return None.

    NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are removed, because workers must not inherit
    them. As in sd_watchdog_enabled(3), the WATCHDOG_PID of another process turns the watchdog off,
    and a missing one does not.

    Args:
        environment: os.environ.
        pid: This process.
    """
    address = environment.pop("NOTIFY_SOCKET", "")
    usec = environment.pop("WATCHDOG_USEC", "")
    watched = environment.pop("WATCHDOG_PID", "") or str(pid)
    if not address:
        return None
    if len(address) == 1 or address[0] not in "/@":
        _log.warning(
            "NOTIFY_SOCKET is %r, which is neither an absolute path nor @ and a name; the "
            "service manager is not notified",
            address,
        )
        return None
    return Notifier(address, _seconds(usec) if watched == str(pid) else None)


def _seconds(usec: str) -> float | None:
    """Convert WATCHDOG_USEC to seconds; None if it is not set or not a number."""
    if not usec or usec == "0":
        return None
    if not (usec.isascii() and usec.isdecimal()):
        _log.warning("WATCHDOG_USEC is %r, which is not a number; the watchdog stays off", usec)
        return None
    return int(usec) / 1_000_000
