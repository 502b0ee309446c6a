"""The fenced code blocks of the Markdown pages, and where each stands."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class FencedBlock:
    """One block; ``file`` is what its first line names, if that is a comment with a file's name."""

    page: Path
    line: int
    language: str
    source: str

    @property
    def file(self) -> str:
        named = re.match(r"# ([\w./-]+\.\w+)\n", self.source)
        return named[1] if named else ""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fenced_blocks(page: Path) -> list[FencedBlock]:
    """All blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    return [
        FencedBlock(
            page,
            text.count("\n", 0, found.start()) + 2,
            found[2],
            textwrap.dedent(found[3]),
        )
        for found in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in fenced_blocks(page)]


def blocks_in(*languages: str) -> list[FencedBlock]:
    """Those of all pages in one of these languages."""
    return [block for block in BLOCKS if block.language in languages]
