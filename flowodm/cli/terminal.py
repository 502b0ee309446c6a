"""The output of a command: the answer on stdout, all messages on stderr."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for scripts.")]


@cache
def out() -> Console:
    """Return the console for the answer; it has colours on a terminal unless NO_COLOR is set."""
    return Console(highlight=False, soft_wrap=True)


@cache
def errors() -> Console:
    """Return the console for messages."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print a message that is not part of the answer."""
    errors().print(Text(printable(text), style=style))


def printable(text: str) -> str:
    """Escape control characters: text of a record could contain terminal commands."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def complain(message: str) -> None:
    """Print an error with the command's name in front, which tells it apart in a pipeline."""
    say(f"flowodm: {message}")


def fail(message: str, status: int) -> NoReturn:
    """Print an error, and end the command."""
    complain(message)
    raise typer.Exit(status)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the singular or plural."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON text."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def show_json(text: str, *, plain: bool) -> None:
    """Print JSON, with colours on a terminal unless ``plain``."""
    if plain or not out().is_terminal:
        line(text)
    else:
        out().print(JSONHighlighter()(Text(text)))


def answer(value: Any) -> None:
    """Print the whole answer as JSON."""
    line(json_text(value, indent=2))


def line(text: str) -> None:
    """Print a line of the answer, at once also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
