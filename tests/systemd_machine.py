"""A machine with a real systemd: a container of systemd-nspawn, with our units and our package."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import debian
import pytest
from waiting import wait_until

import supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 60.0
# All that the container has of its own, and its root and working directory.
NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd")
LAUNCHER = "#!/opt/flowodm/bin/python3\nfrom supervisor.__main__ import main\nmain()\n"


class Machine:
    """One that has booted; ``root`` is its root folder, and the loopback is this machine's."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self._inside = ["nsenter", "--target", str(leader), *NAMESPACES]

    def __call__(self, *command: str, timeout: float = PATIENCE) -> tuple[int, str]:
        """Run a command in there; its status, and what it printed."""
        done = subprocess.run(
            [*self._inside, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout,
        )
        return done.returncode, done.stdout

    def systemctl(self, *arguments: str) -> tuple[int, str]:
        return self("systemctl", "--no-pager", *arguments)

    def shows(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit)[1].strip()

    def journal(self, unit: str) -> str:
        return self("journalctl", "--unit", unit, "--no-pager", "--output", "cat")[1]

    def signal(self, pid: str, number: int) -> None:
        """There is no kill(1) in a small system."""
        status, said = self(
            "/opt/flowodm/bin/python3", "-c", f"import os; os.kill({pid}, {number})"
        )
        assert status == 0, said


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Boot one; it is gone, with all that ran in it, when the context closes."""
    debian.require("systemd-nspawn", "nsenter")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the machine's Python is 3.11, and packages of another one do not run on it")
    with tempfile.TemporaryDirectory(prefix="flowodm-machine-") as folder:
        root = Path(folder, "root")
        subprocess.run(["cp", "--archive", "--reflink=auto", debian.root(), root], check=True)
        _install(root)
        with Path(folder, "console").open("w") as console:
            process = subprocess.Popen(
                [
                    *("systemd-nspawn", "--register=no", "--keep-unit", "--quiet", "--boot"),
                    *("--directory", root),
                    f"--bind-ro={Path(supervisor.__file__).parents[1]}:/opt/tested",
                    f"--bind-ro={sysconfig.get_path('purelib')}:/opt/dependencies",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
            try:
                yield _booted(root, process.pid)
            finally:
                process.terminate()  # powers it off
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()


def _install(root: Path) -> None:
    """As docs/systemd.md says, but that the packages are this environment's."""
    subprocess.run(
        ["make", "-C", REPOSITORY, "install-systemd", f"DESTDIR={root}"],
        check=True,
        capture_output=True,
    )
    venv = ["chroot", str(root), "python3", "-m", "venv", "--without-pip", "/opt/flowodm"]
    subprocess.run(venv, check=True)
    packages = root / "opt/flowodm/lib/python3.11/site-packages"
    (packages / "tested.pth").write_text("/opt/tested\n/opt/dependencies\n")
    command = root / "opt/flowodm/bin/flowodm-supervisor"
    command.write_text(LAUNCHER)
    command.chmod(0o755)
    for name in ("tested", "dependencies"):
        (root / "opt" / name).mkdir()
    # What a login or a mount of this machine's would wait for.
    shutil.rmtree(root / "etc/systemd/system/getty.target.wants", ignore_errors=True)


def _booted(root: Path, nspawn: int) -> Machine:
    children = Path(f"/proc/{nspawn}/task/{nspawn}/children")

    def leader() -> int:
        found = [int(pid) for pid in children.read_text().split()]
        return next((p for p in found if Path(f"/proc/{p}/comm").read_text() == "systemd\n"), 0)

    made = Machine(root, wait_until(leader, PATIENCE, "systemd runs", despite=OSError))
    states = {"running", "degraded"}
    wait_until(
        lambda: made.systemctl("is-system-running")[1].strip() in states, PATIENCE, "it has booted"
    )
    for command in (("systemd-sysusers",), ("systemd-tmpfiles", "--create", "flowodm.conf")):
        status, said = made(*command)
        assert status == 0, said
    return made
