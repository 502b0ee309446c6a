"""A service manager's end of sd_notify, for tests: a datagram socket that keeps what it gets."""

from __future__ import annotations

import socket
import uuid
from contextlib import contextmanager

from support.waiting import wait_until


class NotifySocket:
    """Bound to a path, or to "@" and a name in the abstract namespace."""

    def __init__(self, address):
        self.address = str(address)
        self.received = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    def close(self):
        self._socket.close()

    def take(self):
        """Take in what has come, as one dict a datagram; what came before stays there too."""
        try:
            while True:
                lines = self._socket.recv(65536).decode().splitlines()
                self.received.append(dict(line.split("=", 1) for line in lines))
        except BlockingIOError:
            return self.received

    def all(self, name):
        return [fields[name] for fields in self.take() if name in fields]

    def until(self, name, value, timeout=20.0):
        wait_until(lambda: value in self.all(name), timeout, f"{name}={value} was received")

    def silent(self, seconds):
        """Whether nothing comes for so long; what was there before does not count."""
        self.take()
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(65536)
        except TimeoutError:
            return True
        else:
            return False
        finally:
            self._socket.setblocking(False)

    def fill(self):
        """Let nobody else send any more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            try:
                while True:
                    client.sendto(b"FILLER=1", self._socket.getsockname())
            except BlockingIOError:
                pass


@contextmanager
def notify_socket(address):
    listening = NotifySocket(address)
    try:
        yield listening
    finally:
        listening.close()


def abstract_address():
    return f"@flowodm-test-{uuid.uuid4()}"
