"""The commands that read a configuration and start nothing: check and schema."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from supervisor.config.problems import ConfigError, Problem
from supervisor.config.toml import load_config
from supervisor.report import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervisor.check.report import Checked
    from supervisor.config.config import SupervisorConfig

ConfigFile = Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file.")]
_EXIT_STATUS = """
\b
Exit status:
  0   FILE is valid
  2   wrong command line
  78  FILE is not valid, or --strict and there are warnings
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_EXIT_STATUS)(check)
    app.command()(schema)


def check(
    file: ConfigFile,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the brokers for the topics, too.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as problems.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The answer as JSON, for scripts.")
    ] = False,
) -> None:
    """Validate FILE, and say what each consumer does.

    What FILE names is imported in a child process, which does all that a start does but
    connecting; with --online it connects, but joins no group.

    A warning is something that works, but hardly as it is meant, such as a time-out that ends
    later than the one around it.
    """
    try:
        found = _Found.of(load_config(file), online=online)
    except ConfigError as error:
        found = _Found(list(error.problems))
    if as_json:
        typer.echo(json.dumps(found.told(file), ensure_ascii=False, indent=2))
    else:
        _show(file, found)
    if found.problems or (strict and found.warnings):
        raise typer.Exit(ExitStatus.CONFIGURATION)


class _Found:
    """All that a check finds.

    Attributes:
        problems: What is wrong.
        warnings: What is doubtful.
        checked: What each consumer comes to; empty if the file itself is wrong.
        stop: Seconds after which the fleet has ended at the latest; None if that is not known.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.warnings: list[Problem] = []
        self.checked: list[Checked] = []
        self.stop: float | None = None

    @classmethod
    def of(cls, config: SupervisorConfig, *, online: bool) -> _Found:
        from supervisor.check import timeouts  # noqa: PLC0415 - `--help` is quick without it
        from supervisor.check.conflicts import conflicts  # noqa: PLC0415 - as above
        from supervisor.check.report import check as check_config  # noqa: PLC0415 - as above

        checked = check_config(config, online=online)
        # What is wrong with [kafka] is so for everyone.
        problems = dict.fromkeys(text for consumer in checked for text in consumer.problems)
        found = cls([_split(problem) for problem in problems])
        found.checked, found.stop = checked, timeouts.stop_seconds(config)
        found.warnings += (Problem("environment", str(other)) for other in conflicts())
        found.warnings += timeouts.fleet_warnings(config)
        found.warnings += (warning for consumer in checked for warning in consumer.warnings)
        found.warnings = list(dict.fromkeys(found.warnings))
        return found

    def told(self, file: Path) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "file": str(file),
            "valid": not self.problems,
            "problems": [asdict(problem) for problem in self.problems],
            "warnings": [asdict(warning) for warning in self.warnings],
            "stop_seconds": self.stop,
            "consumers": {consumer.consumer: consumer.facts for consumer in self.checked},
        }


def _split(problem: str) -> Problem:
    key, _, what = problem.partition(": ")
    return Problem(key, what)


def _show(file: Path, found: _Found) -> None:
    show_problems(file, found.problems)
    for warning in found.warnings:
        errors().print(_line(file, warning, "warning: "))
    out = Console(highlight=False, soft_wrap=True)
    for consumer in found.checked:
        if consumer.facts:
            out.print(Text(consumer.consumer, style="bold"))
        for caption, text in consumer.facts.items():
            out.print(Text(f"  {caption + ':':10} {text}"))
    if found.problems:
        return
    out.print(
        f"All workers have ended within {found.stop:g} s of a stop: systemd's TimeoutStopSec=, or "
        "Kubernetes' terminationGracePeriodSeconds, has to be longer"
    )
    count = len(found.warnings)
    text = "" if not count else ", with 1 warning" if count == 1 else f", with {count} warnings"
    out.print(Text(f"{file} is valid{text}", style="yellow" if count else "green"))


def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from supervisor.config.json_schema import schema as made  # noqa: PLC0415 - as above

    typer.echo(json.dumps(made(), indent=2))


def load(file: Path) -> SupervisorConfig:
    """The configuration; what is wrong with it is shown, and ends the command."""
    try:
        return load_config(file)
    except ConfigError as error:
        show_problems(file, error.problems)
        raise typer.Exit(ExitStatus.CONFIGURATION) from None


def show_problems(file: Path, problems: Iterable[Problem]) -> None:
    """Print what is wrong, and how much."""
    problems = list(problems)
    for problem in problems:
        errors().print(_line(file, problem))
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        errors().print(Text(f"{file} is not valid: {count}", style="red"))


def _line(file: Path, problem: Problem, kind: str = "") -> Text:
    line = Text(f"{file}: {kind}")
    line.append(problem.key, style="bold")
    line.append(str(problem).removeprefix(problem.key))
    return line


def errors() -> Console:
    """Where what is wrong is printed."""
    return Console(stderr=True, highlight=False, soft_wrap=True)
