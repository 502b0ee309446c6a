"""A small Debian with Python in a folder, made once by debootstrap and kept in the tests' cache.

It stands in for a base image, which comes from a registry that not every machine reaches, and is
what a real systemd boots.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import programs
from support.brokers import artifacts

#: What the image stands on, with Python 3.11 and systemd 252.
BOOKWORM = "bookworm"
#: Python 3.13 and systemd 257.
TRIXIE = "trixie"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates"
TIMEOUT = 300.0
# What a machine behind a proxy of its own has, and pip in there needs too.
AUTHORITIES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def require(*names: str) -> None:
    """Skip where this machine cannot do it, and say why."""
    if os.getuid() != 0:
        pytest.skip(programs.ROOT_NEEDED)
    programs.require("debootstrap", "unshare", *names)


def root(suite: str = BOOKWORM) -> Path:
    """The folder; nobody may write into it."""
    key = hashlib.sha256(f"{suite} {PACKAGES}".encode()).hexdigest()[:12]
    target = artifacts.cache_root() / f"debian-{key}"
    with (artifacts.cache_root() / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _make(suite, target)
    return target


def _make(suite: str, target: Path) -> None:
    making = target.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(making)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if done.returncode != 0:
        shutil.rmtree(making, ignore_errors=True)
        pytest.skip(f"debootstrap cannot make a Debian here: {done.stdout[-300:]}")
    own = [os.environ[name] for name in AUTHORITIES if Path(os.environ.get(name, "")).is_file()]
    if own:
        copy = making / "etc/ssl/certs/of-this-machine.pem"
        shutil.copyfile(own[0], copy)
        (making / "etc/pip.conf").write_text(
            "[global]\ncert = /etc/ssl/certs/of-this-machine.pem\n"
        )
    making.rename(target)
