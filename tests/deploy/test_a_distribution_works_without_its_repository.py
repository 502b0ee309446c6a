"""`make dist`: what a user installs, in an environment of its own and far from the repository."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOP = """
from flowodm import FlowBaseModel


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shop"

    order_id: str


def handle(order: Order) -> None:
    print(order.order_id)
"""
FLEET = """
[supervisor]
control_socket = "{folder}/control.sock"
[kafka]
bootstrap_servers = "127.0.0.1:9092"
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The source distribution, and the wheel that is built from that."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        check=True,
        timeout=100,
    )
    return folder


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    """The commands' folder of a new environment, with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    target = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    [wheel] = dist.glob("*.whl")
    python = folder / "bin" / "python"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", *options, wheel],
        capture_output=True,
        check=True,
        timeout=100,
    )
    # Behind the environment's own packages, so that these are the ones that are found.
    Path(target, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run(*command, cwd):
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60, env={}
    )


def test_the_source_distribution_has_what_is_needed_to_work_on_it(dist):
    [source] = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    needed = {"pyproject.toml", "constraints.txt", "Makefile", "README.md", "LICENSE"}
    assert needed <= names
    for folder in ("flowodm", "supervisor", "tests", "config", "deploy", "docs", "benchmarks"):
        ours = {str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob("*.py")}
        assert {name for name in ours if "__pycache__" not in name} <= names


def test_the_wheel_has_the_packages_with_their_types_and_the_licence(dist):
    [wheel] = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.partition("/")[0] for name in names}
    ours = {top for top in tops if not top.endswith((".dist-info", ".data"))}
    assert ours == {"flowodm", "supervisor"}
    assert {"flowodm/py.typed", "supervisor/py.typed"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_what_is_imported_is_what_is_installed(installed, tmp_path):
    program = (
        "import flowodm, supervisor, flowodm.testing as t; print(flowodm.__file__, t.__file__)"
    )

    done = run(installed / "python", "-c", program, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert all(Path(file).is_relative_to(installed.parent) for file in done.stdout.split())


def test_the_manual_pages_are_where_man_looks_for_those_of_an_environment(installed):
    pages = installed.parent / "share" / "man"

    assert {str(page.relative_to(pages)) for page in pages.rglob("*.*")} == {
        "man1/flowodm.1",
        "man1/flowodm-supervisor.1",
        "man5/flowodm-supervisor.toml.5",
    }


def test_both_commands_say_the_same_version(installed, tmp_path):
    said = {
        run(*command, "--version", cwd=tmp_path).stdout.split()[-1]
        for command in (
            [installed / "flowodm"],
            [installed / "flowodm-supervisor"],
            [installed / "python", "-m", "supervisor"],
        )
    }

    assert len(said) == 1
    assert next(iter(said))[0].isdigit()


def test_a_configuration_of_ones_own_is_checked(installed, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "fleet.toml").write_text(FLEET.format(folder=tmp_path))

    done = run(installed / "flowodm-supervisor", "check", "fleet.toml", "--json", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)


def test_a_broker_for_development_is_there(installed, tmp_path):
    done = run(installed / "flowodm", "dev-broker", "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "broker" in done.stdout
