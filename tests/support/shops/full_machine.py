"""Preloaded by a fork server: it cannot fork while there is a file called "full" in its folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_fork = os.fork


def fork() -> int:
    if Path("full").exists():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork
