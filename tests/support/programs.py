"""Programs that some tests run beside Python, and how a machine gets them."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

DEBIAN = {
    "buildah": "buildah",
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "debootstrap": "debootstrap",
    "man": "man-db",
    "mandoc": "mandoc",
    "nsenter": "util-linux",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "systemd-sysusers": "systemd",
    "systemd-tmpfiles": "systemd",
    "unshare": "util-linux",
}
"""Program to the package of Debian that has it."""
HELM = "go install helm.sh/helm/v3/cmd/helm@v3.18.6"
"""Not in Debian; built where there is Go."""

ROOT_NEEDED = "needs root; run make test as root"
"""Why a test is skipped that makes namespaces, mounts or users."""


def missing(*programs: str) -> str | None:
    """Name the programs that are not installed, and the command that installs them."""
    lacking = [program for program in programs if shutil.which(program) is None]
    if not lacking:
        return None
    packages = dict.fromkeys(DEBIAN[program] for program in lacking if program in DEBIAN)
    commands = ["apt-get install " + " ".join(packages)] if packages else []
    if "helm" in lacking:
        commands.append(HELM)
    return f"no {', '.join(lacking)}; {' && '.join(commands)}"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Mark a test that is skipped where one of the programs is not installed."""
    reason = missing(*programs)
    return pytest.mark.skipif(reason is not None, reason=reason or "")


def require(*programs: str) -> None:
    """Skip the running test where one of the programs is not installed."""
    if reason := missing(*programs):
        pytest.skip(reason)


def skip_summary(reasons: Iterable[str]) -> list[str]:
    """Make a line for each reason to skip, with the number of tests, the most frequent first."""
    counts = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    return [f"{count} skipped: {reason}" for reason, count in counts.most_common()]
