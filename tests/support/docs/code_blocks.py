"""The Python snippets of a reStructuredText file, each with the section that it stands in."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTIVE = ".. code-block:: python"


@dataclasses.dataclass(frozen=True, slots=True)
class CodeBlock:
    """One snippet; ``name`` is its section's title and its number there, from 1."""

    name: str
    line: int
    source: str


def code_blocks(text: str) -> dict[str, CodeBlock]:
    """All Python snippets of a text, by name, in its order."""
    return {block.name: block for block in _blocks(text.splitlines())}


def _blocks(lines: list[str]) -> Iterator[CodeBlock]:
    section, number = "", 0
    for index, line in enumerate(lines):
        if _is_title(line, lines[index + 1 : index + 2]):
            section, number = line, 0
        if line == DIRECTIVE:
            number += 1
            body = _indented(lines[index + 1 :])
            source = textwrap.dedent("\n".join(body)).strip("\n") + "\n"
            yield CodeBlock(f"{section}/{number}", index + 2, source)


def _is_title(line: str, following: list[str]) -> bool:
    underlined = bool(following) and re.fullmatch(r"(=+|-+)", following[0]) is not None
    return bool(line) and underlined and len(following[0]) >= len(line)


def _indented(lines: list[str]) -> list[str]:
    body = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        body.append(line)
    return body
