"""Links between the files of the repository; the site is built strictly, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
FILES = sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "docs/*.rst", "deploy/**/*.md")
    for file in ROOT.glob(pattern)
)


def anchors(page: Path) -> set[str]:
    """The names that headings get, as GitHub and Python-Markdown agree on for plain words."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip() for heading in headings)
    return {re.sub(r"[\s]+", "-", text).lower() for text in words}


@pytest.mark.parametrize("page", FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_its_heading(page):
    broken = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        there = (page.parent / target) if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(f"{target}#{anchor}")

    assert broken == []
