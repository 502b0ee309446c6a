"""The commands that start nothing: check and schema; and how problems are printed."""

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
        bool, typer.Option("--online", help="Also ask the brokers about the topics.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as problems.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Validate FILE, and say what each consumer does.

    A child process imports the code that FILE names, and does what a start does except to
    connect; with --online it connects, but joins no group.

    A warning is something that works, but probably not as intended, such as a time-out that is
    longer than the one around it.
    """
    try:
        findings = _Findings.of(load_config(file), online=online)
    except ConfigError as error:
        findings = _Findings(list(error.problems))
    if as_json:
        typer.echo(json.dumps(findings.as_json(file), ensure_ascii=False, indent=2))
    else:
        _show(file, findings)
    if findings.problems or (strict and findings.warnings):
        raise typer.Exit(ExitStatus.CONFIGURATION)


class _Findings:
    """Everything that a check finds.

    Attributes:
        problems: What is wrong.
        warnings: What works, but probably not as intended.
        checked: What each consumer does; empty if the file itself is wrong.
        stop: Seconds after which the fleet has ended at the latest; None if that is not known.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.warnings: list[Problem] = []
        self.checked: list[Checked] = []
        self.stop: float | None = None

    @classmethod
    def of(cls, config: SupervisorConfig, *, online: bool) -> _Findings:
        """Check a configuration."""
        from supervisor.check import timeouts  # noqa: PLC0415 - `--help` is quick without it
        from supervisor.check.conflicts import conflicts  # noqa: PLC0415 - as above
        from supervisor.check.report import check as check_config  # noqa: PLC0415 - as above

        checked = check_config(config, online=online)
        # A problem of [kafka] is found for each consumer, and shown once.
        problems = dict.fromkeys(text for consumer in checked for text in consumer.problems)
        findings = cls([_split(problem) for problem in problems])
        findings.checked, findings.stop = checked, timeouts.stop_seconds(config)
        warnings = [Problem("environment", str(conflict)) for conflict in conflicts()]
        warnings += timeouts.fleet_warnings(config)
        for consumer in checked:
            warnings += consumer.warnings
        findings.warnings = list(dict.fromkeys(warnings))
        return findings

    def as_json(self, file: Path) -> dict[str, Any]:
        """Return everything as --json prints it."""
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


def _show(file: Path, findings: _Findings) -> None:
    show_problems(file, findings.problems)
    for warning in findings.warnings:
        errors().print(_line(file, warning, "warning: "))
    out = Console(highlight=False, soft_wrap=True)
    for consumer in findings.checked:
        if consumer.facts:
            out.print(Text(consumer.consumer, style="bold"))
        for caption, text in consumer.facts.items():
            out.print(Text(f"  {caption + ':':10} {text}"))
    if findings.problems:
        return
    out.print(
        f"All workers have ended within {findings.stop:g} s of a stop: systemd's TimeoutStopSec=, "
        "or Kubernetes' terminationGracePeriodSeconds, must be longer"
    )
    if findings.warnings:
        count = _counted(len(findings.warnings), "warning")
        out.print(Text(f"{file} is valid, with {count}", style="yellow"))
    else:
        out.print(Text(f"{file} is valid", style="green"))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from supervisor.config import json_schema  # noqa: PLC0415 - `--help` is quick without it

    typer.echo(json.dumps(json_schema.schema(), indent=2))


def load(file: Path) -> SupervisorConfig:
    """Read a configuration; if it is not valid, print its problems and end the command."""
    try:
        return load_config(file)
    except ConfigError as error:
        show_problems(file, error.problems)
        raise typer.Exit(ExitStatus.CONFIGURATION) from None


def show_problems(file: Path, problems: Iterable[Problem]) -> None:
    """Print each problem, and how many there are."""
    problems = list(problems)
    for problem in problems:
        errors().print(_line(file, problem))
    if problems:
        count = _counted(len(problems), "problem")
        errors().print(Text(f"{file} is not valid: {count}", style="red"))


def _line(file: Path, problem: Problem, kind: str = "") -> Text:
    """Make the line of a problem, with its key in bold."""
    line = Text(f"{file}: {kind}")
    line.append(problem.key, style="bold")
    line.append(str(problem).removeprefix(problem.key))
    return line


def errors() -> Console:
    """Return the console for problems: stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)
