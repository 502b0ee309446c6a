"""What the site shows beyond the pages of this folder, told to MkDocs (see mkdocs.yml).

The pages are written to be read where they lie, so they link to files of the repository
(``../deploy/prometheus/rules.yml``). The site gets copies of those, a list of files for a folder,
and the reStructuredText page as Markdown.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
#: Pages that lie beside this folder, and their names on the site.
PAGES = {"ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md"}
#: Folders whose files are shown as they are.
FOLDERS = ("config", "deploy")
#: A role in a docstring, which is Sphinx' and no Markdown.
ROLE = re.compile(r":(?:class|func|meth|attr|exc|mod):(?=<code>)")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside of docs/."""
    for source, name in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    for rst in (ROOT / "docs").glob("*.rst"):
        text = markdown(rst.read_text(encoding="utf-8"))
        files.append(File.generated(config, f"{rst.stem}.md", content=text))
    shown = repository_files()
    for name in shown:
        copy = File.generated(config, shown_as(name), abs_src_path=str(ROOT / name))
        copy.inclusion = InclusionLevel.INCLUDED  # one that begins with a dot, too
        files.append(copy)
    for folder in {parent.as_posix() for name in shown for parent in Path(name).parents} - {"."}:
        files.append(File.generated(config, f"{folder}/index.md", content=listing(folder, shown)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the repository lead to their copies."""
    del config
    uri = page.file.src_uri
    if files.get_file_from_path(uri) is None or uri.startswith(FOLDERS):
        return markdown
    written_in = uri if uri not in PAGES.values() else f"../{uri}"
    here = posixpath.dirname(posixpath.join("docs", written_in))

    def lead(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, match[0]))
        if target.endswith(".rst"):
            return match[0].removesuffix("rst") + "md"
        if target in PAGES:
            target = f"docs/{PAGES[target]}"
        elif target.startswith(FOLDERS):
            target = f"docs/{shown_as(target)}"
            target += "/index.md" if (ROOT / target.removeprefix("docs/")).is_dir() else ""
        return posixpath.relpath(target, posixpath.join("docs", posixpath.dirname(uri)))

    return LINK.sub(lead, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show the names in docstrings as code, without their roles."""
    del page, config, files
    return ROLE.sub("", html)


def shown_as(name: str) -> str:
    """Where a file of the repository is on the site; a Markdown file would become a page."""
    return f"{name}.txt" if name.endswith(".md") else name


def repository_files() -> list[str]:
    """The files of FOLDERS, without what Python leaves beside its sources."""
    found = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file())
    names = (file.relative_to(ROOT).as_posix() for file in found)
    return sorted(name for name in names if "__pycache__" not in name)


def listing(folder: str, names: list[str]) -> str:
    """A page with links to all files below a folder."""
    inside = [name.removeprefix(f"{folder}/") for name in names if name.startswith(f"{folder}/")]
    links = "\n".join(f"- [{name}]({shown_as(name)})" for name in inside)
    return f"---\nsearch:\n  exclude: true\n---\n\n# {folder}/\n\n{links}\n"


def markdown(rst: str) -> str:
    """The subset of reStructuredText that the specification uses, as Markdown."""
    text = re.sub(r"^(.+)\n=+$", r"# \1", rst, flags=re.MULTILINE)
    text = re.sub(r"^(.+)\n-+$", r"## \1", text, flags=re.MULTILINE)
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    return re.sub(
        r"^\.\. code-block:: (\w+)\n\n((?:   .*\n|\n)+)",
        lambda block: f"```{block[1]}\n{_dedented(block[2])}\n```\n\n",
        text + "\n",
        flags=re.MULTILINE,
    )


def _dedented(body: str) -> str:
    return re.sub(r"^   ", "", body, flags=re.MULTILINE).strip("\n")
