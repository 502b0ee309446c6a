"""The commands validate and check-compatibility: whether models fit their schemas."""

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
    connected,
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
    from collections.abc import Callable, Iterator

    from flowodm.schema import ValidationResult

Model = type[FlowBaseModel]

LEVELS = "BACKWARD, FORWARD, FULL, each also with _TRANSITIVE, or NONE"
Module = Annotated[
    str | None,
    typer.Option("--models", metavar="MODULE", help="All models of a module: shop.orders."),
]
SchemasDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Against its .avsc files, which are named as the subject (without -value) or as the "
        "class in small letters.",
    ),
]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one model.

    Attributes:
        model: Its name.
        source: What it was held against.
        passed: Whether it fits.
        errors: Why not.
        warnings: What is doubtful.
        status: What it comes to; where there was no answer, why.
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
        typer.Option("--models", metavar="MODULE", help="The module of the models: shop.orders."),
    ],
    registry: Annotated[
        bool, typer.Option("--registry", help="Against the registry's latest schemas.")
    ] = False,
    schemas_dir: SchemasDir = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A model that does not fit makes exit status 1.")
    ] = False,
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Hold each model of a module against its schema.

    A registry that does not answer is a failure, with or without --strict.
    """
    if not registry and schemas_dir is None:
        raise typer.BadParameter("give --registry, or --schemas-dir, or both")
    classes = _avro_models(models)
    connected(None, registry_url, properties, config)
    if registry:
        require_registry()
    found = [
        finding
        for model in classes
        for finding in _validated(model, schemas_dir, registry=registry)
    ]
    _tell(found, as_json, "valid")
    _end(found, no=ExitStatus.NO if strict else ExitStatus.DONE)


def _avro_models(module: str) -> list[Model]:
    """A module's models without those that are written as JSON: that is said, not judged."""
    classes = models_of(module)
    left_out = [model for model in classes if not _is_avro(model)]
    for model in left_out:
        say(f"{name_of(model)} is left out: it is not written as Avro", "yellow")
    if left_out == classes:
        raise ConfigurationError(f"no model of {module} is written as Avro")
    return [model for model in classes if model not in left_out]


def _is_avro(model: Model) -> bool:
    try:
        return settings_of(model).value_serializer == "avro"
    except SettingsError:
        return True  # what is wrong with them will be told


def _validated(model: Model, folder: Path | None, *, registry: bool) -> Iterator[Finding]:
    if registry:
        yield _found(model, "registry", lambda: _against_registry(model))
    if folder is not None:
        yield _found(model, str(folder), lambda: _against_folder(model, folder))


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


def _found(
    model: Model, source: str, question: Callable[[], tuple[str, ValidationResult]]
) -> Finding:
    """What there is to say of one model; a failure is no reason to leave out the others."""
    try:
        source, result = question()
    except (FlowODMError, OSError, ValueError) as error:
        return _failed(model, source, error)
    errors, warnings = list(result.errors), list(result.warnings)
    status = ExitStatus.DONE if result.is_valid else ExitStatus.NO
    return Finding(name_of(model), source, result.is_valid, errors, warnings, status)


def _failed(model: Model, source: str, error: Exception) -> Finding:
    """A schema that is not there or none is a no; a registry that does not answer is not."""
    a_no = isinstance(error, OSError | ValueError | SchemaValidationError | NotThereError)
    status = ExitStatus.NO if a_no else status_of(error)
    return Finding(name_of(model), source, passed=False, errors=[str(error)], status=status)


def check_compatibility(
    models: Module = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="One model: shop.orders:Order.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="SUBJECT", help="Another subject than the model's; only with --model."
        ),
    ] = None,
    level: Annotated[
        Level,
        typer.Option(
            metavar="LEVEL", case_sensitive=False, help=f"Which level to keep to: {LEVELS}."
        ),
    ] = Level.BACKWARD,
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Tell whether models may follow their subjects.

    Each is held against what the registry has there. Nothing is registered. A registry that does
    not answer is a failure.
    """
    if (models is None) == (model is None):
        raise typer.BadParameter("give either --model or --models")
    if subject is not None and model is None:
        raise typer.BadParameter("--subject goes with --model: models have subjects of their own")
    classes = [model_of(model)] if model else _avro_models(str(models))
    connected(None, registry_url, properties, config)
    require_registry()
    found = [_compared(cls, subject, level) for cls in classes]
    _tell(found, as_json, f"{level.value} compatible")
    _end(found, no=ExitStatus.NO)


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
    return Finding(name_of(model), source, fits, errors, status=status)


def _tell(found: list[Finding], as_json: bool, quality: str) -> None:
    if as_json:
        told = [{k: v for k, v in asdict(finding).items() if k != "status"} for finding in found]
        answer({"passed": all(finding.passed for finding in found), "models": told})
        return
    for finding in found:
        style = "green" if finding.passed else "red"
        no = f"not {quality}" if finding.status is ExitStatus.NO else "not checked"
        verdict = quality if finding.passed else no
        out().print(Text(f"{finding.model}: {verdict} ({finding.source})", style=style))
        for text in finding.errors:
            out().print(Text(f"  {text}"))
        for text in finding.warnings:
            out().print(Text(f"  warning: {text}", style="yellow"))


def _end(found: list[Finding], *, no: ExitStatus) -> None:
    troubles = {finding.status for finding in found} - {ExitStatus.DONE, ExitStatus.NO}
    if troubles:
        complain("nothing is known of some models, as said above")
        raise typer.Exit(max(troubles))
    if not all(finding.passed for finding in found):
        raise typer.Exit(no)
