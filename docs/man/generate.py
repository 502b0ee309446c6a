"""The manual pages, and the same as pages of the site, from the commands and the models.

`make reference` runs it. What the code does not say is in texts.py.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from click import Context

from flowodm.cli.app import app as flowodm_app
from supervisor.cli.app import app as supervisor_app
from supervisor.config.json_schema import schema
from supervisor.version import VERSION

sys.path.insert(0, str(Path(__file__).parent))
import texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click import Command

FOLDER = Path(__file__).parent
SITE = FOLDER.parent / "reference"
APPS = {"flowodm": flowodm_app, "flowodm-supervisor": supervisor_app}
FILE = "flowodm-supervisor.toml"
TABLES = {
    "[supervisor]": "SupervisorTable",
    "[kafka]": "KafkaTable",
    "[consumers.NAME]": "ConsumerTable",
    "[consumers.NAME.restart]": "RestartTable",
}


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    words: str


@dataclasses.dataclass(frozen=True)
class Literal:
    """Lines that stay as they are."""

    lines: str


@dataclasses.dataclass(frozen=True)
class Terms:
    """What is explained, and the explanation of each."""

    rows: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading with what stands below it; ``level`` 2 is part of the one before."""

    title: str
    blocks: tuple[Text | Literal | Terms, ...]
    level: int = 1


@dataclasses.dataclass(frozen=True)
class Page:
    """A whole page."""

    name: str
    number: int
    what: str
    sections: tuple[Section, ...]


def prose(text: str) -> Iterator[Text | Literal]:
    """The blocks of a help text: click keeps the lines of those that begin with a backspace."""
    for part in re.split(r"\n[ ]*\n", inspect.cleandoc(text)):
        if part.startswith("\b"):
            # A second one stands for an empty line.
            lines = textwrap.dedent("\n".join(part.splitlines()[1:]).replace("\b", ""))
            if lines:
                yield Literal(lines)
        elif part.strip():
            yield Text(" ".join(part.split()))


def command_page(name: str) -> Page:
    """The page of a command, all of its subcommands included."""
    command = typer.main.get_command(APPS[name])
    told = texts.COMMANDS[name]
    context = Context(command, info_name=name)
    first, *rest = prose(command.help or "")
    sections = [
        Section("SYNOPSIS", (Literal(f"{name} [--help | --version] COMMAND [ARGUMENTS]"),)),
        Section("DESCRIPTION", (first, *rest)),
        Section("OPTIONS", (Terms(tuple(records(command, context))),)),
        Section("COMMANDS", ()),
        *subcommands(command, context),
        *(Section(title, tuple(blocks(parts))) for title, parts in told.sections),
    ]
    return Page(name, 1, told.what, tuple(sections))


def subcommands(command: Command, context: Context) -> Iterator[Section]:
    """A part for each, those of groups with their whole name."""
    for name, each in getattr(command, "commands", {}).items():
        inner = Context(each, info_name=name, parent=context)
        if getattr(each, "commands", None):
            yield from subcommands(each, inner)
            continue
        usage = " ".join([inner.command_path, *each.collect_usage_pieces(inner)])
        yield Section(
            inner.command_path.partition(" ")[2],
            (Literal(usage), *prose(each.help or ""), *options(each, inner), *examples(each)),
            level=2,
        )


def options(command: Command, context: Context) -> Iterator[Terms]:
    if rows := tuple(records(command, context)):
        yield Terms(rows)


def records(command: Command, context: Context) -> Iterator[tuple[str, str]]:
    """Arguments and options, as `--help` has them."""
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record and "--help" not in record[0]:
            yield record[0].replace("<", "").replace(">", ""), record[1].replace("  ", " ")


def examples(command: Command) -> Iterator[Text | Literal]:
    """Of the epilog all but the exit statuses, which have a section of their own."""
    for block in prose(command.epilog or ""):
        if not (isinstance(block, Literal) and block.lines.startswith("Exit status")):
            yield block


def file_page() -> Page:
    """The page of the configuration file."""
    tables = schema()["$defs"]
    keys = [
        Section(title, (Terms(tuple(described(tables[name]["properties"]))),), level=2)
        for title, name in TABLES.items()
    ]
    before, after = texts.FILE.sections[:1], texts.FILE.sections[1:]
    made = [
        *(Section(title, tuple(blocks(parts))) for title, parts in before),
        Section("KEYS", ()),
        *keys,
        *(Section(title, tuple(blocks(parts))) for title, parts in after),
    ]
    return Page(FILE, 5, texts.FILE.what, tuple(made))


def described(properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, told in properties.items():
        default = told.get("default")
        said = "" if default in (None, [], {}) else f" The default is {texts.toml(default)}."
        yield key, told.get("description", "A table, see below.") + said


def blocks(parts: tuple[Any, ...]) -> Iterator[Text | Literal | Terms]:
    """The hand-written parts: words, lines that begin with spaces, or pairs."""
    for part in parts:
        if isinstance(part, dict):
            yield Terms(tuple(part.items()))
        elif part.startswith(" "):
            yield Literal(textwrap.dedent(part).strip("\n"))
        else:
            yield Text(" ".join(part.split()))


def roff(page: Page) -> str:
    """As man(7) macros."""
    lines = [
        '.\\" Made by `make reference`; changes here are lost.',
        f'.TH {page.name.upper()} {page.number} {texts.DATE} "flowodm-supervisor {VERSION}"',
        ".SH NAME",
        f"{escaped(page.name)} \\- {escaped(page.what)}",
    ]
    for section in page.sections:
        lines.append(f'.{"SH" if section.level == 1 else "SS"} "{escaped(section.title)}"')
        made = [line for block in section.blocks for line in rendered(block)]
        lines += made[1:] if made[:1] == [".PP"] else made  # a heading begins one by itself
    return "\n".join(lines) + "\n"


def rendered(block: Text | Literal | Terms) -> Iterator[str]:
    if isinstance(block, Text):
        yield from (".PP", safe(block.words))
    elif isinstance(block, Literal):
        yield from (".PP", ".RS 4", ".nf", *map(safe, block.lines.splitlines()), ".fi", ".RE")
    else:
        for term, words in block.rows:
            yield from (".TP", f"\\fB{safe(term)}\\fR", safe(" ".join(words.split()) or "\\ "))


def escaped(text: str) -> str:
    for character, name in {"\\": "\\e", "-": "\\-", "…": "...", "→": "->", "~": "\\(ti"}.items():
        text = text.replace(character, name)
    return text


def safe(line: str) -> str:
    """One that begins with a dot or a quote would be taken for a macro."""
    made = escaped(line)
    return f"\\&{made}" if made.startswith((".", "'")) else made


def markdown(page: Page) -> str:
    """As a page of the site."""
    lines = [f"# {page.name}({page.number})", "", f"{page.what[0].upper()}{page.what[1:]}.", ""]
    for section in page.sections:
        top = section.level == 1
        title = section.title.capitalize() if top else f"`{section.title}`"
        lines += [f"{'##' if top else '###'} {title}", ""]
        for block in section.blocks:
            lines += [*shown(block), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def shown(block: Text | Literal | Terms) -> Iterator[str]:
    if isinstance(block, Text):
        yield from textwrap.wrap(plain(block.words), 105, break_on_hyphens=False)
    elif isinstance(block, Literal):
        yield from ("```text", *block.lines.splitlines(), "```")
    else:
        yield from ("| | |", "|---|---|")
        for term, words in block.rows:
            cell = plain(" ".join(words.split())).replace("|", "\\|")
            yield f"| `{term.replace('|', chr(92) + '|')}` | {cell} |"


def plain(words: str) -> str:
    """What Markdown would take for marks."""
    return re.sub(r"([*_<>\[\]])", r"\\\1", words)


def pages() -> dict[Path, str]:
    """Every file that is made, and its text."""
    made: dict[Path, str] = {}
    for page in [*map(command_page, APPS), file_page()]:
        made[FOLDER / f"{page.name}.{page.number}"] = roff(page)
        made[SITE / f"{page.name}.{page.number}.md"] = markdown(page)
    return made


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
