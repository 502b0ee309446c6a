"""deploy/systemd: units that systemd takes, that confine, and that fit the supervisor's times."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from supervisor.cli.check import ExitStatus
from supervisor.config.config import SupervisorTable
from support.programs import ROOT_NEEDED, needs, require

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXPOSED = 2.0
# Seconds that the kernel may take; as in what `check` says.
KERNEL = 10

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def analyze(*arguments: str) -> str:
    """What systemd-analyze says of our files; without one that can, the test is skipped."""
    require("systemd-analyze")
    said = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, check=True
    )
    if int(said.stdout.split()[1]) < 250:
        pytest.skip("systemd-analyze is older than 250, and cannot look at files")
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def values(unit: Path) -> dict[str, str]:
    """The unit's settings; of one that is repeated, the last."""
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE))


def test_there_is_a_unit_and_a_template():
    assert [unit.name for unit in UNITS] == [
        "flowodm-supervisor.service",
        "flowodm-supervisor@.service",
    ]


@each_unit
def test_systemd_has_nothing_to_say_about_a_unit(unit, tmp_path):
    text = unit.read_text(encoding="utf-8")
    # The environment is not there on every machine; all else is taken as it is.
    here = tmp_path / unit.name
    here.write_text(text.replace("/opt/flowodm/bin/flowodm-supervisor", "/bin/true"))

    assert not analyze("verify", "--man=no", str(here)).strip()


@each_unit
def test_a_unit_confines_what_it_runs(unit):
    said = analyze("security", "--offline=true", "--no-pager", str(unit))

    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(exposure) <= EXPOSED


@each_unit
def test_a_stop_has_time_for_the_default_drain(unit):
    table = SupervisorTable()

    assert values(unit)["TimeoutStopSec"] == "1min"
    assert table.drain_timeout + table.kill_delay + KERNEL < 60


@each_unit
def test_an_invalid_configuration_is_not_tried_again(unit):
    assert values(unit)["RestartPreventExitStatus"] == str(int(ExitStatus.CONFIGURATION))


def test_fleets_of_the_template_share_no_folder():
    (_, template) = map(values, UNITS)

    for key in ("RuntimeDirectory", "StateDirectory", "ExecStart"):
        assert "%i" in template[key]


@pytest.fixture
def installed(tmp_path):
    """The root folder of a machine on which everything has been installed."""
    subprocess.run(
        ["make", "-C", str(FOLDER.parents[1]), "install-systemd", f"DESTDIR={tmp_path}"],
        capture_output=True,
        check=True,
    )
    return tmp_path


def test_the_install_target_puts_each_file_where_systemd_looks(installed):
    folder = installed / "usr/local/lib"
    found = {str(f.relative_to(folder)): f for f in folder.rglob("*") if f.is_file()}

    assert found.keys() == {
        "systemd/system/flowodm-supervisor.service",
        "systemd/system/flowodm-supervisor@.service",
        "sysusers.d/flowodm.conf",
        "tmpfiles.d/flowodm.conf",
    }
    for unit in UNITS:
        assert found[f"systemd/system/{unit.name}"].read_bytes() == unit.read_bytes()
    assert {oct(file.stat().st_mode & 0o777) for file in found.values()} == {"0o644"}


@pytest.mark.skipif(os.getuid() != 0, reason=ROOT_NEEDED)
@needs("systemd-sysusers", "systemd-tmpfiles")
def test_systemd_makes_the_user_and_the_folder_of_configurations(installed):
    (installed / "etc").mkdir()
    root = f"--root={installed}"
    subprocess.run(["systemd-sysusers", root], capture_output=True, check=True)
    subprocess.run(
        ["systemd-tmpfiles", root, "--create", "flowodm.conf"], capture_output=True, check=True
    )

    [user] = [
        line.split(":")
        for line in (installed / "etc/passwd").read_text().splitlines()
        if line.startswith("flowodm:")
    ]
    assert user[5:] == ["/var/lib/flowodm", "/usr/sbin/nologin"]
    folder = (installed / "etc/flowodm").stat()
    assert oct(folder.st_mode & 0o777) == "0o750"
    assert (folder.st_uid, folder.st_gid) == (0, int(user[3]))
