"""Generate models from schemas, as classes and as Python source."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flowodm.exceptions import SchemaValidationError
from flowodm.model import FlowBaseModel
from flowodm.schema.files import load_schema_from_file
from flowodm.schema.source import ModelSource, model_source
from flowodm.schema.subjects import load_schema_from_registry

if TYPE_CHECKING:
    from os import PathLike

_FILE_ENDINGS = frozenset({".avsc", ".json"})
_MODULE = "flowodm.schema.generated"
_RESERVED = frozenset(dir(FlowBaseModel)) | {"Settings"}


def generate_model_from_schema(
    schema_source: str | PathLike[str] | dict[str, Any],
    topic: str,
    class_name: str | None = None,
    consumer_group: str | None = None,
) -> type[FlowBaseModel]:
    """Generate the model of a record's schema.

    The model writes and reads with exactly this schema, even where Python has fewer types. If
    Python or Pydantic does not allow a field's name, the field gets another name, and the
    schema's as its alias.

    Args:
        schema_source: The schema as data; or a file, as a path or a string that ends in .avsc or
            .json; or any other string: the registry's subject, whose latest version is used.
        topic: The topic of the messages.
        class_name: The name of the class; by default the record's.
        consumer_group: The default group of the model's consumers.

    Raises:
        FileNotFoundError: There is no such file.
        json.JSONDecodeError: The file is not JSON.
        SchemaValidationError: The schema is not valid, or not that of a record.
        SchemaRegistryError, RegistryUnavailableError: See :func:`load_schema_from_registry`.
    """
    return _execute(_source(schema_source, topic, class_name, consumer_group=consumer_group))


def generate_model_from_registry(
    subject: str,
    topic: str,
    version: str | int = "latest",
    class_name: str | None = None,
    consumer_group: str | None = None,
) -> type[FlowBaseModel]:
    """Generate the model of a subject's schema; see :func:`generate_model_from_schema`.

    Args:
        subject: The registry's subject.
        topic: The topic of the messages.
        version: The number of a version, or ``latest``.
        class_name: The name of the class; by default the record's.
        consumer_group: The default group of the model's consumers.

    Raises:
        SchemaValidationError: The schema is not that of a record.
        SchemaRegistryError, RegistryUnavailableError: See :func:`load_schema_from_registry`.
    """
    schema = load_schema_from_registry(subject, version)
    return generate_model_from_schema(schema, topic, class_name, consumer_group=consumer_group)


def generate_model_source(
    schema_source: str | PathLike[str] | dict[str, Any],
    topic: str,
    class_name: str | None = None,
    consumer_group: str | None = None,
) -> str:
    """Return the source of the module that :func:`generate_model_from_schema` executes.

    It passes ``mypy --strict``. Arguments and errors are the same.
    """
    return _source(schema_source, topic, class_name, consumer_group=consumer_group).text


def _source(
    schema_source: str | PathLike[str] | dict[str, Any],
    topic: str,
    class_name: str | None,
    consumer_group: str | None,
) -> ModelSource:
    schema = _loaded(schema_source)
    try:
        return model_source(
            schema,
            topic=topic,
            reserved=_RESERVED,
            class_name=class_name,
            consumer_group=consumer_group,
        )
    except RecursionError:
        raise SchemaValidationError("the schema nests too deeply") from None


def _loaded(source: str | PathLike[str] | dict[str, Any]) -> dict[str, Any]:
    if isinstance(source, dict):
        return source
    if isinstance(source, str) and Path(source).suffix not in _FILE_ENDINGS:
        return load_schema_from_registry(source)
    return load_schema_from_file(source)


def _execute(source: ModelSource) -> type[FlowBaseModel]:
    module = ModuleType(_MODULE)
    code = compile(source.tree, f"<{source.class_name}, generated>", "exec", dont_inherit=True)
    # Thus the class and its source cannot differ. From the schema come only names that
    # flowodm.schema.naming has checked, and literals.
    exec(code, module.__dict__)  # noqa: S102 - see above
    names = vars(module)
    for cls in tuple(names.values()):
        if inspect.isclass(cls) and issubclass(cls, BaseModel) and cls.__module__ == _MODULE:
            # Pydantic would look the names up in the module, which cannot be imported.
            cls.model_rebuild(_types_namespace=names)
    model: type[FlowBaseModel] = names[source.class_name]
    return model
