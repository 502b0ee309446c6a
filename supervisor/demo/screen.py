"""What the demo prints: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from supervisor.demo.view import COLUMNS, line
from supervisor.instrumentation.status_table import worker_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from supervisor.instrumentation.status_table import Worker

LINE_INTERVAL = 2.0
"""Seconds between two plain lines."""


class Screen(Protocol):
    """What the demo is shown on: a `Terminal`, or `Plain` lines."""

    def __enter__(self) -> Self:
        """Start to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the terminal."""

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def show(self, workers: Sequence[Worker], title: str) -> None:
        """Show the current state of the workers."""


class Terminal:
    """A table at the bottom, updated in place and removed at the end; printed lines stay above it.

    Rich respects NO_COLOR.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._live.console.print(Text(text), soft_wrap=True)

    def show(self, workers: Sequence[Worker], title: str) -> None:
        """Update the table."""
        self._live.update(worker_table(workers, COLUMNS, title), refresh=True)


class Plain:
    """Lines on standard output."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """Print a line, unbuffered even into a pipe."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def show(self, workers: Sequence[Worker], title: str) -> None:
        """Print the state of the workers, if `LINE_INTERVAL` has passed since the last time."""
        now = time.monotonic()
        if now - self._shown >= LINE_INTERVAL:
            self._shown = now
            self.say(line(workers, title))


def screen() -> Screen:
    """Return the screen that suits standard output."""
    console = Console(highlight=False)
    interactive = console.is_terminal and not console.is_dumb_terminal
    return Terminal(console) if interactive else Plain()
