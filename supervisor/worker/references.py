"""Imports the objects that a configuration names as "package.module:name".

Only in the child: the supervisor never imports the user's code.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_PERMANENT = (ImportError, SyntaxError, NameError, AttributeError, TypeError)
"""What a module that fails on import will raise the next time too. Any other exception may pass,
for example if a database does not answer."""


class DefinitionError(Exception):
    """A consumer's definition names something that does not exist or has the wrong type.

    Another start would fail too.
    """


def add_current_folder() -> None:
    """Make modules in the current folder importable, as for a script in that folder."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def resolve(reference: str, key: str) -> object:
    """Import the module and return the object.

    Args:
        reference: "package.module:name" or "package.module:name.attribute".
        key: The configuration's key, for messages.

    Raises:
        DefinitionError: There is no such module or name, or the module can never be imported.
        Exception: What the module raised on import, if another start may succeed.
    """
    module_name, _, path = reference.partition(":")
    target: object = _import(module_name, key)
    for name in path.split("."):
        try:
            target = getattr(target, name)
        except AttributeError:
            raise DefinitionError(
                _no_attribute(target, name, reference=reference, key=key)
            ) from None
    return target


class References:
    """Resolves all references of one definition; keeps errors instead of raising them.

    Args:
        place: The definition's place in the configuration, for messages.

    Attributes:
        place: As given.
        errors: The errors, in order. A module that fails on import is in it once, for the first
            key that names it.
    """

    def __init__(self, place: str) -> None:
        self.errors: list[BaseException] = []
        self.place = place
        self._broken: set[str] = set()

    def get(self, key: str, reference: str, accept: Callable[[object, str], T]) -> T | None:
        """Return the object; None if there is an error.

        Args:
            key: The key below `place`.
            reference: As for `resolve`.
            accept: Returns its first argument if that has the right type. Otherwise it raises a
                DefinitionError that begins with its second argument, the key and the reference.
        """
        module = reference.partition(":")[0]
        if module in self._broken:
            return None
        where = f"{self.place}.{key}"
        try:
            return accept(resolve(reference, where), f"{where}: {reference}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller reads `errors`
            self.errors.append(error)
            if module not in sys.modules:
                self._broken.add(module)
        return None

    def exceptions(self, key: str, names: Sequence[str]) -> tuple[type[Exception], ...]:
        """Return exception classes by reference, or by name if they are built in."""
        kinds: list[type[Exception]] = []
        for index, name in enumerate(names):
            reference = name if ":" in name else f"builtins:{name}"
            kind = self.get(f"{key}[{index}]", reference, _exception)
            if kind is not None:
                kinds.append(kind)
        return tuple(kinds)


def _exception(target: object, where: str) -> type[Exception]:
    if isinstance(target, type) and issubclass(target, Exception):
        return target
    raise DefinitionError(f"{where} is not an exception class: name a subclass of Exception")


def _import(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise DefinitionError(
                f"{key}: there is no module {error.name}; install it, or start the supervisor "
                f"in the folder that contains it (now {Path.cwd()})"
            ) from None
        raise DefinitionError(f"{key}: importing {name} failed: {error}") from error
    except _PERMANENT as error:
        reason = f"{type(error).__name__}: {error}"
        raise DefinitionError(f"{key}: importing {name} failed: {reason}") from error
    except (Exception, SystemExit) as error:
        error.add_note(f"{key}: raised while importing {name}")
        raise


def _no_attribute(owner: object, name: str, *, reference: str, key: str) -> str:
    owner_name = owner.__name__ if isinstance(owner, ModuleType) else repr(owner)
    close = difflib.get_close_matches(name, dir(owner), n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f"{key}: {owner_name} has no {name} (from {reference}){hint}"
