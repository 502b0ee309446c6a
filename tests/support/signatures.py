"""Compares what a function takes with what an older release of it took."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUIRED = inspect.Parameter.empty
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_REST = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def assert_takes(function: Callable[..., Any], wanted: Mapping[str, Any]) -> None:
    """Every call with these arguments, by position or by name, still means the same.

    ``wanted`` gives names and defaults in their order. Behind them may follow what has a default.
    """
    found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    defaults = {p.name: p.default for p in found}
    assert [p.name for p in found[: len(wanted)]] == list(wanted)
    assert {name: defaults[name] for name in wanted} == dict(wanted)
    assert {p.kind for p in found[: len(wanted)]} <= {_POSITIONAL}
    needed = [p for p in found[len(wanted) :] if p.default is REQUIRED and p.kind not in _REST]
    assert not needed
