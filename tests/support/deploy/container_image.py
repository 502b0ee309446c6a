"""The image of deploy/container, built by buildah and run in namespaces, without a daemon."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.deploy import debian

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
DOCKERFILE = "deploy/container/Dockerfile"
BUILD_TIMEOUT = 300.0


class Image:
    """One that was built; its files are at ``files``, and its configuration is Docker's."""

    def __init__(self, storage: Path, name: str) -> None:
        self._buildah = ["buildah", "--root", str(storage)]
        self.name = name
        self.config: dict[str, Any] = {}
        self.files = Path()

    def build(self, base: Path, context: Path) -> None:
        """Run the Dockerfile as it is, on another base."""
        archive = context / "base.tar"
        subprocess.run(["tar", "-C", str(base), "-cf", archive, "."], check=True)
        self._run("from", "--name", "base", "scratch")
        self._run("add", "base", str(archive))
        self._run("commit", "base", "localhost/base")
        archive.unlink()
        self._run(
            *("build", "--isolation", "chroot", "--format", "docker", "--network", "host"),
            *("--build-arg", "PYTHON_IMAGE=localhost/base", "--file", str(context / DOCKERFILE)),
            *("--tag", self.name, str(context)),
        )
        told = json.loads(self._run("inspect", "--type", "image", self.name))
        self.config = told["Docker"]["config"]
        self._run("from", "--name", "running", "--pull-never", self.name)
        self.files = Path(self._run("mount", "running").strip())

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._buildah, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_TIMEOUT,
        )
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.config["Env"])

    def inside(self, command: list[str], *, pids_of: int | None = None) -> list[str]:
        """A command line that runs a command in there as the image's user.

        In namespaces of its own, in which it is process 1 and all but /tmp and /run is read-only;
        or, beside it, in those of the process ``pids_of``.
        """
        folder = self.config.get("WorkingDir") or "/"
        user = ["--setuid", self.user, "--setgid", self.group]
        if pids_of is not None:
            return [
                *("nsenter", "--target", str(pids_of), "--pid", "--mount"),
                *("unshare", "--root", str(self.files), "--wd", folder, *user, *command),
            ]
        mounts = (
            f'mount --bind "{self.files}" "{self.files}" && cd "{self.files}"'
            " && mount -t proc proc proc && mount --rbind /dev dev"
            f" && mount -t tmpfs -o mode=1777 tmpfs tmp && mount -o remount,bind,ro ."
            f' && exec unshare --root . --wd "{folder}" {" ".join(user)} "$@"'
        )
        namespaces = ["--pid", "--fork", "--kill-child", "--mount"]
        return ["unshare", *namespaces, "sh", "-c", mounts, "sh", *command]

    @property
    def user(self) -> str:
        return str(self.config["User"].partition(":")[0])

    @property
    def group(self) -> str:
        return str(self.config["User"].partition(":")[2])


@contextlib.contextmanager
def image() -> Iterator[Image]:
    """Built from the Dockerfile, .dockerignore, and the wheel of this tree."""
    debian.require("buildah", "nsenter")
    with tempfile.TemporaryDirectory(prefix="flowodm-image-") as folder:
        context = Path(folder, "context")
        (context / "deploy").mkdir(parents=True)
        shutil.copytree(ROOT / "deploy/container", context / "deploy/container")
        shutil.copy(ROOT / ".dockerignore", context)
        _wheel(context / "dist")
        made = Image(Path(folder, "storage"), "localhost/flowodm-supervisor")
        made.build(debian.root(), context)
        try:
            yield made
        finally:
            subprocess.run([*made._buildah, "umount", "--all"], capture_output=True, check=False)


def _wheel(folder: Path) -> None:
    """As `make dist` does it."""
    import sys  # noqa: PLC0415

    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT],
        capture_output=True,
        check=True,
        env={**os.environ},
    )
