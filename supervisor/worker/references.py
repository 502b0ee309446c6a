"""From "package.module:name" to the object, in the child; the parent never does this."""

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

_SAME_AGAIN = (ImportError, SyntaxError, NameError, AttributeError, TypeError)
"""What a module that fails on import will raise the next time too. Anything else, such as a
database that does not answer, may pass."""


class DefinitionError(Exception):
    """A consumer's definition names something that is not there or does not fit.

    Starting again would fail in the same way.
    """


def here_first() -> None:
    """Let modules in the current folder be imported, as for a script that lies there."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def resolve(reference: str, key: str) -> object:
    """Import the module and get the object.

    Args:
        reference: "package.module:name" or "package.module:name.attribute".
        key: The configuration's key, for messages.

    Raises:
        DefinitionError: There is no such module or name, or the module can never be imported.
        Exception: What the module itself raised on import, if that may pass.
    """
    module_name, _, path = reference.partition(":")
    module = _module(module_name, key)
    found: object = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise DefinitionError(_no_attribute(found, name, reference, key)) from None
    return found


class References:
    """All that one definition names, imported; what is wrong is kept, not raised.

    Args:
        place: The definition's place in the configuration, for messages.

    Attributes:
        place: As given.
        errors: What went wrong, in order. A module that fails on import is in it once, for the
            first key that names it.
    """

    def __init__(self, place: str) -> None:
        self.errors: list[BaseException] = []
        self.place = place
        self._broken: set[str] = set()

    def get(self, key: str, reference: str, accept: Callable[[object, str], T]) -> T | None:
        """The object, or None if there is an error.

        Args:
            key: The key below `place`.
            reference: As for `resolve`.
            accept: Gives back what it gets, as what it should be; or raises a DefinitionError
                with its second argument, key and reference, at the beginning.
        """
        module = reference.partition(":")[0]
        if module in self._broken:
            return None
        where = f"{self.place}.{key}"
        try:
            return accept(resolve(reference, where), f"{where}: {reference}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - kept for whoever asked
            self.errors.append(error)
            if module not in sys.modules:
                self._broken.add(module)
        return None

    def exceptions(self, key: str, names: Sequence[str]) -> tuple[type[Exception], ...]:
        """Exception classes by reference, or by name if they are built in."""
        found = [
            self.get(f"{key}[{index}]", name if ":" in name else f"builtins:{name}", _exception)
            for index, name in enumerate(names)
        ]
        return tuple(kind for kind in found if kind is not None)


def _exception(found: object, where: str) -> type[Exception]:
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    raise DefinitionError(f"{where} is no exception class: name a subclass of Exception")


def _module(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise DefinitionError(
                f"{key}: there is no module {error.name}; install it, or start the supervisor "
                f"in the folder it lies in (now {Path.cwd()})"
            ) from None
        raise DefinitionError(f"{key}: importing {name} failed: {error}") from error
    except _SAME_AGAIN as error:
        what = f"{type(error).__name__}: {error}"
        raise DefinitionError(f"{key}: importing {name} failed: {what}") from error
    except (Exception, SystemExit) as error:
        error.add_note(f"{key}: raised while importing {name}")
        raise


def _no_attribute(found: object, name: str, reference: str, key: str) -> str:
    owner = found.__name__ if isinstance(found, ModuleType) else repr(found)
    close = difflib.get_close_matches(name, dir(found), n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f"{key}: {owner} has no {name} (from {reference}){hint}"
