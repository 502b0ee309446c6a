"""What people and scripts read: stdout has the answer, stderr all that is said about it."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON, for scripts.")]


@cache
def out() -> Console:
    """Where the answer goes: coloured on a terminal, unless NO_COLOR is set."""
    return Console(highlight=False, soft_wrap=True)


@cache
def errors() -> Console:
    """Where all else goes."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Tell people something that is no part of the answer."""
    errors().print(Text(printable(text), style=style))


def printable(text: str) -> str:
    """Without what would command a terminal; records come from anywhere."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def complain(message: str) -> None:
    """Say what went wrong, with the command's name in front as in any pipeline."""
    say(f"flowodm: {message}")


def fail(message: str, status: int) -> NoReturn:
    """Say why, and end the command."""
    complain(message)
    raise typer.Exit(status)


def counted(number: int, what: str) -> str:
    """A number of things, in words."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def dumped(value: Any, indent: int | None = None) -> str:
    """JSON as scripts get it."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def show_json(text: str, *, plain: bool) -> None:
    """One piece of JSON, coloured on a terminal unless plain."""
    if plain or not out().is_terminal:
        line(text)
    else:
        out().print(JSONHighlighter()(Text(text)))


def answer(value: Any) -> None:
    """The whole answer as JSON."""
    line(dumped(value, indent=2))


def line(text: str) -> None:
    """A line of the answer, there at once for whoever reads the pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
