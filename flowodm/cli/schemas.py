"""The commands validate and check-compatibility: check models against schemas."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from flowodm.cli.connecting import (
    Properties,
    PropertiesFile,
    RegistryUrl,
    configure_connection,
    require_registry,
)
from flowodm.cli.outcome import status_of
from flowodm.cli.process import STATUSES, ExitStatus
from flowodm.cli.references import model_of, models_of, name_of
from flowodm.cli.terminal import AsJson, answer, complain, out, say
from flowodm.exceptions import (
    ConfigurationError,
    FlowODMError,
    SchemaValidationError,
    SettingsError,
)
from flowodm.model import FlowBaseModel, settings_of
from flowodm.registry.answers import NotThereError
from flowodm.schema import check_compatibility as compare
from flowodm.schema import validate_against_file, validate_against_registry
from flowodm.schema.levels import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.schema import ValidationResult

Model = type[FlowBaseModel]

LEVELS = "BACKWARD, FORWARD, FULL, each also with _TRANSITIVE, or NONE"
"""The compatibility levels, for help texts."""

Module = Annotated[
    str | None,
    typer.Option(
        "--models", metavar="MODULE", help="All models of this module, such as shop.orders."
    ),
]
SchemasDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Check against the .avsc files in this folder, named after the subject (without "
        "-value) or after the class in lower case.",
    ),
]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of checking one model.

    Attributes:
        model: The model's name.
        source: The file or the subject of the schema.
        passed: Whether the model fits.
        errors: The reasons if it does not.
        warnings: Warnings.
        status: The exit status for this result.
    """

    model: str
    source: str
    passed: bool
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    status: ExitStatus = ExitStatus.DONE


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=STATUSES)(validate)
    app.command("check-compatibility", epilog=STATUSES)(check_compatibility)


def validate(
    models: Annotated[
        str,
        typer.Option(
            "--models", metavar="MODULE", help="The module with the models, such as shop.orders."
        ),
    ],
    registry: Annotated[
        bool, typer.Option("--registry", help="Check against the latest schemas of the registry.")
    ] = False,
    schemas_dir: SchemasDir = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with status 1 if a model does not fit.")
    ] = False,
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Check each model of a module against its schema.

    A registry that does not answer is a failure, with or without --strict.
    """
    if not registry and schemas_dir is None:
        raise typer.BadParameter("give --registry or --schemas-dir, or both")
    classes = _avro_models(models)
    configure_connection(None, registry_url, properties, file=config)
    if registry:
        require_registry()
    findings: list[Finding] = []
    for model in classes:
        findings += _validated(model, schemas_dir, registry=registry)
    _print(findings, as_json, "valid")
    _end(findings, no=ExitStatus.NO if strict else ExitStatus.DONE)


def _avro_models(module: str) -> list[Model]:
    """Return a module's models that are written as Avro; report the other ones."""
    classes = models_of(module)
    skipped = [model for model in classes if not _is_avro(model)]
    for model in skipped:
        say(f"{name_of(model)} is skipped: it is not written as Avro", "yellow")
    if skipped == classes:
        raise ConfigurationError(f"no model of {module} is written as Avro")
    return [model for model in classes if model not in skipped]


def _is_avro(model: Model) -> bool:
    try:
        return settings_of(model).value_serializer == "avro"
    except SettingsError:
        return True  # the check will report the wrong setting


def _validated(model: Model, folder: Path | None, *, registry: bool) -> list[Finding]:
    findings = []
    if registry:
        findings.append(_finding(model, "registry", lambda: _against_registry(model)))
    if folder is not None:
        findings.append(_finding(model, str(folder), lambda: _against_folder(model, folder)))
    return findings


def _against_registry(model: Model) -> tuple[str, ValidationResult]:
    subject = settings_of(model).schema_subject
    return f"registry:{subject}", validate_against_registry(model, subject)


def _against_folder(model: Model, folder: Path) -> tuple[str, ValidationResult]:
    names = (settings_of(model).schema_subject.removesuffix("-value"), model.__name__.lower())
    paths = [folder / f"{name}.avsc" for name in names]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise SchemaValidationError(f"there is neither {paths[0]} nor {paths[1]}")
    return str(path), validate_against_file(model, path)


def _finding(
    model: Model, source: str, check: Callable[[], tuple[str, ValidationResult]]
) -> Finding:
    """Check one model; turn an error into a finding, so that the other models are checked too."""
    try:
        source, result = check()
    except (FlowODMError, OSError, ValueError) as error:
        return _failed(model, source, error)
    errors, warnings = list(result.errors), list(result.warnings)
    status = ExitStatus.DONE if result.is_valid else ExitStatus.NO
    return Finding(
        name_of(model), source, result.is_valid, errors=errors, warnings=warnings, status=status
    )


def _failed(model: Model, source: str, error: Exception) -> Finding:
    """Return the finding for an error: a missing or invalid schema means that the answer is no."""
    is_no = isinstance(error, OSError | ValueError | SchemaValidationError | NotThereError)
    status = ExitStatus.NO if is_no else status_of(error)
    return Finding(name_of(model), source, passed=False, errors=[str(error)], status=status)


def check_compatibility(
    models: Module = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="One model, such as shop.orders:Order.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(metavar="SUBJECT", help="Compare with this subject; only with --model."),
    ] = None,
    level: Annotated[
        Level,
        typer.Option(metavar="LEVEL", case_sensitive=False, help=f"The level to check: {LEVELS}."),
    ] = Level.BACKWARD,
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Check whether models are compatible with their subjects.

    Each model's schema is compared with those that the registry has for its subject. Nothing is
    registered. A registry that does not answer is a failure.
    """
    if (models is None) == (model is None):
        raise typer.BadParameter("give either --model or --models")
    if subject is not None and model is None:
        raise typer.BadParameter(
            "--subject needs --model: each model of a module has its own subject"
        )
    classes = [model_of(model)] if model else _avro_models(str(models))
    configure_connection(None, registry_url, properties, file=config)
    require_registry()
    findings = [_compared(cls, subject, level) for cls in classes]
    _print(findings, as_json, f"{level.value} compatible")
    _end(findings, no=ExitStatus.NO)


def _compared(model: Model, subject: str | None, level: Level) -> Finding:
    source = "registry"
    try:
        subject = subject or settings_of(model).schema_subject
        source = f"registry:{subject}"
        result = compare(model, subject, level.value)
    except FlowODMError as error:
        return _failed(model, source, error)
    fits = result.is_compatible
    errors = [] if fits else result.reasons
    status = ExitStatus.DONE if fits else ExitStatus.NO
    return Finding(name_of(model), source, fits, errors=errors, status=status)


def _print(findings: list[Finding], as_json: bool, quality: str) -> None:
    """Print the answer.

    Args:
        findings: The results.
        as_json: Print JSON.
        quality: The word for a model that fits, such as "valid".
    """
    if not as_json:
        for finding in findings:
            _print_finding(finding, quality)
        return
    models = [asdict(finding) for finding in findings]
    for model in models:
        del model["status"]
    answer({"passed": all(finding.passed for finding in findings), "models": models})


def _print_finding(finding: Finding, quality: str) -> None:
    if finding.passed:
        verdict, style = quality, "green"
    elif finding.status is ExitStatus.NO:
        verdict, style = f"not {quality}", "red"
    else:
        verdict, style = "not checked", "red"
    out().print(Text(f"{finding.model}: {verdict} ({finding.source})", style=style))
    for text in finding.errors:
        out().print(Text(f"  {text}"))
    for text in finding.warnings:
        out().print(Text(f"  warning: {text}", style="yellow"))


def _end(findings: list[Finding], *, no: ExitStatus) -> None:
    """End the command if a model does not fit, or could not be checked.

    Args:
        findings: The results.
        no: The exit status if a model does not fit.
    """
    troubles = {finding.status for finding in findings} - {ExitStatus.DONE, ExitStatus.NO}
    if troubles:
        complain("some models could not be checked; their errors are above")
        raise typer.Exit(max(troubles))
    if not all(finding.passed for finding in findings):
        raise typer.Exit(no)
