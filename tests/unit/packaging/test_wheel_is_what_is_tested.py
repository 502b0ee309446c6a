"""`make test INSTALL=wheel` tests what users install, and not the tree that it was built from."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import flowodm
import supervisor

ROOT = Path(__file__).parents[3]
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
WHERE = "import flowodm, supervisor; print(flowodm.__file__, supervisor.__file__, sep='\\n')"

WHEEL_NEEDED = "needs the built wheel; make test VENV=.venv-wheel INSTALL=wheel"
pytestmark = pytest.mark.skipif(os.environ.get("FLOWODM_TEST_WHEEL") != "1", reason=WHEEL_NEEDED)


@pytest.mark.parametrize("package", [flowodm, supervisor], ids=lambda package: package.__name__)
def test_the_tests_import_from_site_packages(package):
    assert Path(package.__file__).is_relative_to(SITE_PACKAGES)
    assert not SITE_PACKAGES.joinpath(package.__name__).is_symlink()


def test_what_the_tests_start_imports_from_site_packages():
    child = subprocess.run(
        [sys.executable, "-c", WHERE], capture_output=True, text=True, check=True
    )

    for file in child.stdout.splitlines():
        assert Path(file).is_relative_to(SITE_PACKAGES)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else():
    (wheel,) = Path(sys.prefix, "dist").glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "flowodm", "supervisor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    manual = {name for name in packed if ".data/data/share/man/" in name}
    assert packed - manual == set(tracked.stdout.splitlines())
    assert {Path(name).name for name in manual} == {
        page.name for page in (ROOT / "docs" / "man").glob("*.[15]")
    }
