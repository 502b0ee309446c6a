"""What the packages import is what pyproject.toml makes pip install with them."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flowodm
import supervisor

DISTRIBUTION = "flowodm-supervisor"
OURS = {"flowodm", "supervisor"}
# Pydantic pins its core to one version and documents its use; nobody depends on it directly.
COMES_WITH = {"pydantic-core": "pydantic"}
# Only pytest itself imports this file, where a conftest.py names it in pytest_plugins.
LOADED_BY = {"testing/fixtures.py": "pytest"}


def imported(package: Path) -> set[str]:
    """The top-level name of every module that the package's files import."""
    modules: set[str] = set()
    for file in package.rglob("*.py"):
        loader = LOADED_BY.get(file.relative_to(package).as_posix())
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
                modules.update(names - {loader})
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules.add(node.module.partition(".")[0])
    return modules - set(sys.stdlib_module_names) - OURS


def normal(distribution: str) -> str:
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    return COMES_WITH.get(name, name)


@pytest.mark.parametrize("package", [flowodm, supervisor], ids=lambda package: package.__name__)
def test_every_import_comes_from_a_declared_dependency(package):
    requirements = importlib.metadata.requires(DISTRIBUTION) or []
    declared = {normal(re.split(r"[\[<>=!~; ]", line)[0]) for line in requirements}
    owners = importlib.metadata.packages_distributions()

    undeclared = {
        module
        for module in imported(Path(package.__file__).parent)
        if not declared & {normal(owner) for owner in owners.get(module, [])}
    }

    assert undeclared == set()


def test_what_is_required_with_extras_is_pinned_with_them():
    """Or pip, in its mode for hashes, takes the newest version instead of the pinned one."""
    pins = (Path(__file__).parents[3] / "constraints.txt").read_text(encoding="utf-8")
    pinned = {
        (canonicalize_name(name), extra)
        for name, extras in re.findall(r"^([\w.-]+)\[([\w,-]+)\]==", pins, re.MULTILINE)
        for extra in extras.split(",")
    }
    installed = [
        requirement
        for distribution in importlib.metadata.distributions()
        for requirement in map(Requirement, distribution.requires or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]

    wanted = {(canonicalize_name(r.name), extra) for r in installed for extra in r.extras}

    assert ("coverage", "toml") in wanted
    assert wanted <= pinned
