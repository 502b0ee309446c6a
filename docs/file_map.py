"""The map of ARCHITECTURE.md: a row a folder, then a row a file, in their docstrings' words."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]


def rows(package: str) -> list[tuple[str, str, str]]:
    """Return path, content and floor of each folder and file of a package."""
    return [
        *_folder(ROOT / package),
        *(row for folder in _folders(ROOT / package) for row in _folder(folder)),
    ]


def _folders(top: Path) -> Iterator[Path]:
    for init in sorted(top.rglob("__init__.py")):
        if init.parent != top:
            yield init.parent


def _folder(folder: Path) -> Iterator[tuple[str, str, str]]:
    name = folder.relative_to(ROOT).as_posix()
    yield f"**`{name}/`**", _first_line(folder / "__init__.py"), _may_import(name)
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            yield f"`{file.relative_to(ROOT).as_posix()}`", _first_line(file), ""


def _first_line(file: Path) -> str:
    """Return the first line of a module's docstring, without its full stop."""
    words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return words.partition("\n")[0].removesuffix(".")


def _may_import(folder: str) -> str:
    """Return the neighbours on the floors below, as the contracts of import-linter have them."""
    container, _, name = folder.replace("/", ".").rpartition(".")
    for layers in _floors(container):
        for height, floor in enumerate(layers):
            if name in floor:
                if height + 1 == len(layers):
                    return "nothing of its neighbours"
                below = ", ".join(f"`{other}`" for other in layers[height + 1])
                return f"{below} and below"
    return ""


def _floors(container: str) -> Iterator[list[list[str]]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in config["tool"]["importlinter"]["contracts"]:
        if container in contract.get("containers", ()):
            yield [layer.split(" | ") for layer in contract["layers"]]
