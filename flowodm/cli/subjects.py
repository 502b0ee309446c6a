"""The commands upload-schema, list-subjects, get-schema, and generate-model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flowodm.cli.connecting import (
    Properties,
    PropertiesFile,
    RegistryUrl,
    configure_connection,
    require_registry,
)
from flowodm.cli.process import STATUSES, ExitStatus
from flowodm.cli.schemas import LEVELS
from flowodm.cli.terminal import AsJson, answer, fail, line, say, show_json
from flowodm.exceptions import ConfigurationError
from flowodm.schema import (
    generate_model_source,
    load_schema_from_file,
    load_schema_from_registry,
)
from flowodm.schema import list_subjects as subjects_of_registry
from flowodm.schema import upload_schema as upload
from flowodm.schema.levels import Level

Compatibility = Annotated[
    Level | None,
    typer.Option(
        metavar="LEVEL",
        case_sensitive=False,
        help=f"Also set the subject's compatibility level: {LEVELS}.",
    ),
]
Subject = Annotated[
    str, typer.Option(metavar="SUBJECT", help="The registry's subject, such as orders-value.")
]
Version = Annotated[str, typer.Option(metavar="NUMBER|latest", help="The schema's version.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("upload-schema", epilog=STATUSES)(upload_schema)
    app.command("list-subjects", epilog=STATUSES)(list_subjects)
    app.command("get-schema", epilog=STATUSES)(get_schema)
    app.command("generate-model", epilog=STATUSES)(generate_model)


def upload_schema(
    avro: Annotated[Path, typer.Option("--avro", metavar="FILE", help="The .avsc file.")],
    subject: Subject,
    compatibility: Compatibility = None,
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Register a schema under a subject, and print its id."""
    configure_connection(None, registry_url, properties, file=config)
    require_registry()
    level = None if compatibility is None else compatibility.value
    _loaded(avro)
    schema_id = upload(avro, subject, level)
    if as_json:
        answer({"subject": subject, "id": schema_id})
    else:
        line(f"{schema_id}")
        say(f"subject {subject} has {avro} as schema {schema_id}")


def list_subjects(
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Print the registry's subjects, one per line."""
    configure_connection(None, registry_url, properties, file=config)
    require_registry()
    subjects = sorted(subjects_of_registry())
    if as_json:
        answer({"subjects": subjects})
        return
    for subject in subjects:
        line(subject)
    if not subjects:
        say("the registry has no subjects")


def get_schema(
    subject: Subject,
    version: Version = "latest",
    output: Output = None,
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Print a schema from the registry."""
    number = _number(version)
    configure_connection(None, registry_url, properties, file=config)
    require_registry()
    text = json.dumps(load_schema_from_registry(subject, number), indent=2)
    if output is None:
        show_json(text, plain=as_json)
    else:
        _write(output, text)
        _report_written(output, as_json, subject=subject, version=number)


def generate_model(
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="The topic in the model's Settings.")],
    subject: Annotated[
        str | None, typer.Option(metavar="SUBJECT", help="Generate from this subject.")
    ] = None,
    avro: Annotated[
        Path | None, typer.Option("--avro", metavar="FILE", help="Generate from this .avsc file.")
    ] = None,
    version: Version = "latest",
    class_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The name of the class; by default the schema's."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="The consumer group in the model's Settings."),
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Generate a model from a schema, and print its Python source."""
    if (subject is None) == (avro is None):
        raise typer.BadParameter("give either --subject or --avro")
    number = _number(version)
    if avro is not None:
        schema = _loaded(avro)
    else:
        configure_connection(None, registry_url, properties, file=config)
        require_registry()
        schema = load_schema_from_registry(str(subject), number)
    source = generate_model_source(schema, topic, class_name, consumer_group=group)
    if output is not None:
        _write(output, source.rstrip("\n"))
        _report_written(output, as_json, topic=topic)
    elif as_json:
        answer({"topic": topic, "source": source})
    else:
        line(source.rstrip("\n"))


def _loaded(path: Path) -> dict[str, Any]:
    try:
        return load_schema_from_file(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigurationError(f"{path} cannot be read: {reason}") from None


def _number(version: str) -> str | int:
    if version == "latest":
        return version
    if version.isascii() and version.isdecimal() and int(version) > 0:
        return int(version)
    raise typer.BadParameter(f"--version must be a number from 1, or latest, got {version!r}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}", ExitStatus.OUTPUT_FAILED)


def _report_written(path: Path, as_json: bool, **more: Any) -> None:
    if as_json:
        answer({**more, "output": str(path)})
    else:
        say(f"written to {path}")
