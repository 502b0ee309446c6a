"""The notify socket of systemd, and of whatever else speaks sd_notify(3).

Only the command `flowodm-supervisor run` makes a `Notifier`: a `Supervisor` inside another
program does not speak for that program.

Not sent: MAINPID=, because the process that systemd started is the one that runs, and behind
a wrapper or in a container's PID namespace it would be wrong; BARRIER=1, because nothing is
sent by a process that ends right after it.
"""

from __future__ import annotations

import logging
import os
import socket
from math import inf
from typing import TYPE_CHECKING

from supervisor.systemd.notices import Told, notice

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from supervisor.instrumentation.snapshot import Snapshot

log = logging.getLogger("supervisor")

SHORTEST_TURN = 0.01
"""Seconds; a shorter WatchdogSec= does not make the main loop turn more often than this."""


class Notifier:
    """An observer that tells the service manager what the fleet does.

    It neither blocks nor raises: as long as the socket is gone or full, each turn tries again.

    Args:
        address: NOTIFY_SOCKET: an absolute path, or "@" and a name in Linux's abstract
            namespace.
        watchdog: Seconds without WATCHDOG=1 after which the service manager acts; None if it
            does not watch.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self._address = address
        self._where = os.fsencode(f"\0{address[1:]}" if address.startswith("@") else address)
        self._watchdog = watchdog
        self._told = Told()
        self._complained = False

    @property
    def turn(self) -> float:
        """Seconds within which the main loop has to turn; infinite without a watchdog.

        A quarter of the watchdog's: WATCHDOG=1 is due after half, and then comes after three
        quarters at the latest.
        """
        return inf if self._watchdog is None else max(SHORTEST_TURN, self._watchdog / 4)

    def __call__(self, fleet: Snapshot) -> None:
        """Send what is due."""
        while (due := notice(self._told, fleet, self._watchdog)) is not None:
            told, text = due
            try:
                self._send(text)
            except OSError as error:
                self._complain(error)
                return
            self._told = told

    def _send(self, text: str) -> None:
        # A socket each: a service manager that binds its own anew is found again.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.sendto(text.encode(), self._where)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning(
                "the service manager cannot be told anything at %s: %s; trying on quietly",
                self._address,
                error.strerror or error,
            )


def notifier(environment: MutableMapping[str, str], pid: int) -> Notifier | None:
    """The notifier that the environment asks for, or None.

    NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are removed: the workers must not inherit
    them. As in sd_watchdog_enabled(3), a WATCHDOG_PID that is somebody else's turns the watchdog
    off, and a missing one does not.

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
        log.warning(
            "NOTIFY_SOCKET is %r, which is neither an absolute path nor @ and a name; the "
            "service manager will be told nothing",
            address,
        )
        return None
    return Notifier(address, _seconds(usec) if watched == str(pid) else None)


def _seconds(usec: str) -> float | None:
    if not usec or usec == "0":
        return None
    if not (usec.isascii() and usec.isdecimal()):
        log.warning("WATCHDOG_USEC is %r, which is no number; the watchdog stays off", usec)
        return None
    return int(usec) / 1_000_000
