"""How the arguments that a program gives become the checked options of a loop."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from flowodm.consumer.options.loop_options import OPTIONS
from flowodm.consumer.options.options import Options
from flowodm.consumer.options.signatures import describe, is_async
from flowodm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowodm.consumer.options.keywords import MoreOptions, SyncOptions


def make_options(
    more: MoreOptions | SyncOptions, *, for_async: bool = False, **arguments: Any
) -> Options:
    """Make the checked options of a loop from its arguments.

    Args:
        more: The arguments that are given by name only; None asks for the default.
        for_async: Whether they are for AsyncConsumerLoop.
        arguments: The other arguments.

    Raises:
        TypeError: There is no such option, or a value is of a wrong type.
        ValueError: A name is not one of the choices, or a number is out of its range.
        ConfigurationError: A function does not take what it will get, or an option needs
            AsyncConsumerLoop.
        SettingsError: ``consumer_config`` sets a property that belongs to the loop.
    """
    arguments |= {name: value for name, value in more.items() if value is not None}
    _refuse_unknown(arguments)
    values = _async_defaults() if for_async else {}
    if arguments.get("batch_size"):
        values["ordering"] = OPTIONS["ordering"].default
    for name, argument in arguments.items():
        values[name] = OPTIONS[name].value_of(name, argument)
    options = Options(**values)
    if not for_async:
        _refuse_what_only_async_can(options)
    return options


def _refuse_unknown(arguments: Mapping[str, Any]) -> None:
    for name in sorted(arguments.keys() - OPTIONS.keys()):
        close = difflib.get_close_matches(name, OPTIONS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise TypeError(f"a loop has no option {name!r}{hint}")


def _async_defaults() -> dict[str, Any]:
    return {
        name: option.async_default
        for name, option in OPTIONS.items()
        if option.async_default is not None
    }


def _refuse_what_only_async_can(options: Options) -> None:
    """ConsumerLoop awaits nothing, and cannot interrupt a handler."""
    functions = (options.handler, options.error_handler, options.on_startup, options.on_shutdown)
    for function in (*functions, options.tombstone_handler):
        if function is not None and is_async(function):
            raise ConfigurationError(f"{describe(function)} is async: use AsyncConsumerLoop for it")
    for name, option in OPTIONS.items():
        if option.async_only and getattr(options, name) != option.default:
            raise ConfigurationError(f"{name} needs AsyncConsumerLoop: {option.async_only}")
