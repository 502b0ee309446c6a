"""From "shop.orders:Order" to the class."""

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
    typer.Argument(metavar="MODEL", help='The class, such as "shop.orders:Order".'),
]


def model_of(reference: str) -> type[FlowBaseModel]:
    """Import a model; "package.module:Class" and "package.module.Class" are the same.

    Modules of the current folder come first, as for a script that lies there.

    Raises:
        ConfigurationError: There is no such module or class, or it is no model.
    """
    module_name, separator, path = reference.partition(":")
    if not separator:
        module_name, _, path = reference.rpartition(".")
    if not module_name or not path:
        raise ConfigurationError(
            f'{reference!r} names no class of a module: write "module:Class", such as '
            '"shop.orders:Order"'
        )
    found: Any = _imported(module_name)
    for name in path.split("."):
        owner, found = found, getattr(found, name, None)
        if found is None:
            raise ConfigurationError(_nothing_of_that_name(owner, name, reference))
    if not _is_model(found):
        raise ConfigurationError(f"{reference} is no subclass of FlowBaseModel")
    model: type[FlowBaseModel] = found
    return model


def models_of(module_name: str) -> list[type[FlowBaseModel]]:
    """The models that a module has and that name a topic, by the order of their names.

    Raises:
        ConfigurationError: There is no such module, or no such model in it.
    """
    names = vars(_imported(module_name))
    found = [names[name] for name in sorted(names) if _is_model(names[name])]
    models = [model for model in dict.fromkeys(found) if _has_a_topic(model)]
    if not models:
        raise ConfigurationError(
            f"{module_name} has no subclass of FlowBaseModel that names a topic in its Settings"
        )
    return models


def name_of(model: type[FlowBaseModel]) -> str:
    """What :func:`model_of` takes."""
    return f"{model.__module__}:{model.__qualname__}"


def _is_model(found: object) -> bool:
    return (
        isinstance(found, type) and issubclass(found, FlowBaseModel) and found is not FlowBaseModel
    )


def _has_a_topic(model: type[FlowBaseModel]) -> bool:
    """Whether it is meant to be produced; one without is a base class of others."""
    return any(
        getattr(cls.__dict__.get("Settings"), "topic", None) is not None for cls in model.__mro__
    )


def _imported(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is the answer's alone
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module {error.name}: install it, or run flowodm in the folder it "
                f"lies in (now {here})"
            ) from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> ConfigurationError:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own[1:] else ""
    return ConfigurationError(f"importing {name} failed: {type(error).__name__}: {error}{place}")


def _nothing_of_that_name(owner: object, name: str, reference: str) -> str:
    shown = owner.__name__ if isinstance(owner, ModuleType | type) else repr(owner)
    close = difflib.get_close_matches(name, dir(owner), n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f"{shown} has no {name} (from {reference}){hint}"
