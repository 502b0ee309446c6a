"""A machine with a real systemd: a container of systemd-nspawn, with our units and our package."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import supervisor
from support.deploy import debian
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[3]
REQUIREMENTS = REPOSITORY / "deploy/container/requirements.txt"
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
def machine(suite: str = debian.BOOKWORM) -> Iterator[Machine]:
    """Boot one; it is gone, with all that ran in it, when the context closes."""
    debian.require("systemd-nspawn", "nsenter")
    with tempfile.TemporaryDirectory(prefix="flowodm-machine-") as folder:
        root = Path(folder, "root")
        subprocess.run(["cp", "--archive", "--reflink=auto", debian.root(suite), root], check=True)
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
    """As docs/systemd.md says, but that the package is the one that is tested.

    What it depends on is this environment's where the machine has the same Python, else installed.
    """
    subprocess.run(
        ["make", "-C", REPOSITORY, "install-systemd", f"DESTDIR={root}"],
        check=True,
        capture_output=True,
    )
    for name in ("tested", "dependencies"):
        (root / "opt" / name).mkdir()
    subprocess.run(["chroot", root, "python3", "-m", "venv", "/opt/flowodm"], check=True)
    (packages,) = (root / "opt/flowodm/lib").glob("python3.*/site-packages")
    paths = "/opt/tested\n"
    if packages.parent.name == f"python3.{sys.version_info.minor}":
        paths += "/opt/dependencies\n"
    else:
        _install_dependencies(root)
    (packages / "tested.pth").write_text(paths)
    command = root / "opt/flowodm/bin/flowodm-supervisor"
    command.write_text(LAUNCHER)
    command.chmod(0o755)
    # What a login or a mount of this machine's would wait for.
    shutil.rmtree(root / "etc/systemd/system/getty.target.wants", ignore_errors=True)


def _install_dependencies(root: Path) -> None:
    for name in ("resolv.conf", "hosts"):
        (root / "etc" / name).unlink(missing_ok=True)
        shutil.copyfile(Path("/etc", name), root / "etc" / name)
    shutil.copyfile(REQUIREMENTS, root / "opt/requirements.txt")
    pip = ("/opt/flowodm/bin/pip", "install", "--quiet", "--require-hashes", "--no-cache-dir")
    # How an index is reached; `debian` has seen to the authorities.
    told = {
        name: value
        for name, value in os.environ.items()
        if (name.startswith("PIP_") and name != "PIP_CERT") or name.lower().endswith("_proxy")
    }
    subprocess.run(
        ["chroot", root, *pip, "--requirement", "/opt/requirements.txt"],
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/root", **told},
    )


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
