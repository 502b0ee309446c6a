"""The text of help(ConsumerLoop): every option with its unit, default and meaning."""

from __future__ import annotations

import inspect
import textwrap
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from flowodm.consumer.options.declaration import REQUIRED
from flowodm.consumer.options.loop_options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.consumer.options.declaration import Option

Kind = TypeVar("Kind", bound=type)

_WIDTH = 96


def lists_options(*, for_async: bool = False) -> Callable[[Kind], Kind]:
    """Decorate a loop's class so that its docstring lists every option."""

    def decorate(kind: Kind) -> Kind:
        if kind.__doc__ is not None:
            docstring = _Docstring(kind.__doc__, for_async=for_async)
            setattr(kind, "__doc__", docstring)  # noqa: B010 - mypy wants a str
        return kind

    return decorate


class _Docstring:
    """A docstring that is made when a program reads it: the import would take 3 ms longer."""

    def __init__(self, text: str, *, for_async: bool) -> None:
        self._text = text
        self._for_async = for_async

    def __get__(self, _loop: object, _kind: type) -> str:
        about, raises, errors = inspect.cleandoc(self._text).partition("Raises:")
        arguments = "\n".join(
            _paragraph(name, option, for_async=self._for_async) for name, option in OPTIONS.items()
        )
        return f"{about}Args:\n{arguments}\n\n{raises}{errors}"


def _paragraph(name: str, option: Option, *, for_async: bool) -> str:
    details = [option.unit] if option.unit else []
    if default := default_in_words(option, for_async=for_async):
        details.append(f"default: {default}")
    head = f"{name} ({', '.join(details)})" if details else name
    meaning = option.meaning
    if option.async_only and not for_async:
        meaning += " AsyncConsumerLoop only."
    return textwrap.fill(
        f"{head}: {meaning}", _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8
    )


def default_in_words(option: Option, *, for_async: bool) -> str:
    """Return the default of an option as text; empty if it is required."""
    default = option.default_of(for_async=for_async)
    if option.default_words:
        return option.default_words
    if default is REQUIRED:
        return ""
    if default is None or default in ((), {}):
        return "none"
    if isinstance(default, Enum):
        return f'"{default.value}"'
    return str(default)
