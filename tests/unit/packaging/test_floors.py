"""What import-linter does not see: cycles, files that pure modules open, files without a row."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("flowodm", "supervisor")
if not (ROOT / "flowodm").is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(file): file
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def imported(tree: ast.Module) -> set[str]:
    """The modules of ours that a module imports, whether for types only, late or at once."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                names.add(submodule if submodule in FILES else node.module)
    return names & FILES.keys()


GRAPH = {name: imported(tree) - {name} for name, tree in TREES.items()}


def cycle_through(start: str) -> list[str] | None:
    """A way from a module back to itself, if there is one."""
    ways = [[start]]
    seen = set()
    while ways:
        way = ways.pop()
        for following in sorted(GRAPH[way[-1]]):
            if following == start:
                return way
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return None


def test_no_module_imports_itself_by_way_of_others():
    cycles = [way for name in GRAPH if (way := cycle_through(name)) is not None]

    assert cycles == []


def pure_modules() -> list[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sources = [
        source
        for contract in config["tool"]["importlinter"]["contracts"]
        if " pure" in contract["name"]
        for source in contract["source_modules"]
    ]
    return [n for n in FILES if any(n == s or n.startswith(f"{s}.") for s in sources)]


def test_there_are_pure_modules_to_look_at():
    assert {"flowodm.consumer.engine.engine", "supervisor.slot.machine"} <= set(pure_modules())


@pytest.mark.parametrize("name", pure_modules())
def test_a_pure_module_opens_no_file(name):
    calls = (node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call))
    called = {call.func.id for call in calls if isinstance(call.func, ast.Name)}

    assert not called & {"open", "print", "input", "__import__"}


def test_no_file_is_without_a_row_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| \**`([^`]+)`", text, re.MULTILINE))
    files = {file.relative_to(ROOT) for file in FILES.values()}
    expected = {
        f"{file.parent.as_posix()}/" if file.name == "__init__.py" else file.as_posix()
        for file in files
    }

    assert expected - rows == set(), "run `make reference`"
    assert {row for row in rows if row.endswith(".py")} - expected == set(), "run `make reference`"


def test_every_file_that_the_architecture_names_is_there():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    prose = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    files = [
        file.relative_to(ROOT)
        for folder in (*PACKAGES, "tests", "docs", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
    ]
    named = re.findall(r"`([\w/*.]+\.py)`", prose)

    assert named
    assert [name for name in named if not any(file.match(name) for file in files)] == []
