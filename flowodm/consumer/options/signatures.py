"""What a loop finds out about the functions that it gets, before it calls them."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from flowodm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def is_async(handler: Callable[..., Any]) -> bool:
    """Return whether calling it gives a coroutine; partials and objects with __call__ count too."""
    return _is(handler, (inspect.iscoroutinefunction,))


def describe(function: Callable[..., Any]) -> str:
    """Return a function's name for an error message."""
    return getattr(function, "__qualname__", None) or repr(function)


_GENERATORS = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def _is(function: Callable[..., Any], kinds: Sequence[Callable[[object], bool]]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004 - the method itself is looked at
    return any(kind(function) or kind(call) for kind in kinds)


def check_function(name: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """Refuse a function that cannot be called with these arguments, or is a generator function.

    Raises:
        ConfigurationError: The message names the function and the arguments.
    """
    if _is(function, _GENERATORS):
        raise ConfigurationError(
            f"{name} {describe(function)} is a generator function: calling it runs none of its "
            "body; remove the yield"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some functions written in C have no signature
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ConfigurationError(
            f"{name} {describe(function)}{signature} cannot be called with "
            f"({', '.join(arguments)}): {error}"
        ) from error
