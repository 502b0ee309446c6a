"""Import the model that "shop.orders:Order" names."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from flowodm.exceptions import ConfigurationError
from flowodm.model import FlowBaseModel

ModelReference = Annotated[
    str,
    typer.Argument(metavar="MODEL", help='The model class, such as "shop.orders:Order".'),
]


def model_of(reference: str) -> type[FlowBaseModel]:
    """Import a model; "package.module:Class" and "package.module.Class" mean the same.

    Modules in the current folder come first, as for a script in it.

    Raises:
        ConfigurationError: There is no such module or class, or it is not a model.
    """
    module_name, separator, path = reference.partition(":")
    if not separator:
        module_name, _, path = reference.rpartition(".")
    if not module_name or not path:
        raise ConfigurationError(
            f'{reference!r} does not name a class in a module: write "module:Class", such as '
            '"shop.orders:Order"'
        )
    target: Any = _imported(module_name)
    for name in path.split("."):
        owner, target = target, getattr(target, name, None)
        if target is None:
            raise ConfigurationError(_missing(owner, name, reference))
    if not _is_model(target):
        raise ConfigurationError(f"{reference} is not a subclass of FlowBaseModel")
    model: type[FlowBaseModel] = target
    return model


def models_of(module_name: str) -> list[type[FlowBaseModel]]:
    """Import the models of a module that have a topic, in the order of their names.

    Raises:
        ConfigurationError: There is no such module, or no such model in it.
    """
    names = vars(_imported(module_name))
    classes = [names[name] for name in sorted(names) if _is_model(names[name])]
    models = [model for model in dict.fromkeys(classes) if _has_topic(model)]
    if not models:
        raise ConfigurationError(
            f"{module_name} has no subclass of FlowBaseModel with a topic in its Settings"
        )
    return models


def name_of(model: type[FlowBaseModel]) -> str:
    """Return the name by which :func:`model_of` imports a model."""
    return f"{model.__module__}:{model.__qualname__}"


def _is_model(item: object) -> bool:
    return isinstance(item, type) and issubclass(item, FlowBaseModel) and item is not FlowBaseModel


def _has_topic(model: type[FlowBaseModel]) -> bool:
    """Tell whether a model has a topic; one without is a base class of other models."""
    return any(
        getattr(cls.__dict__.get("Settings"), "topic", None) is not None for cls in model.__mro__
    )


def _imported(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer only
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module {error.name}: install it, or run flowodm in the folder that "
                f"has it (this one is {here})"
            ) from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> ConfigurationError:
    frames = traceback.extract_tb(error.__traceback__)
    # The first frame is this module's own, which imports the user's.
    users = [frame for frame in frames if "importlib" not in frame.filename][1:]
    place = f" ({users[-1].filename}, line {users[-1].lineno})" if users else ""
    return ConfigurationError(f"importing {name} failed: {type(error).__name__}: {error}{place}")


def _missing(owner: object, name: str, reference: str) -> str:
    shown = owner.__name__ if isinstance(owner, ModuleType | type) else repr(owner)
    close = difflib.get_close_matches(name, dir(owner), n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f"{shown} has no {name} (from {reference}){hint}"
