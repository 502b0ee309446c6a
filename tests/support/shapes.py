"""Handlers of every shape for both loops."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def handler_for(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function as this kind of loop takes it, with the same parameters."""
    if kind != "async":
        return function

    @functools.wraps(function)  # the loop looks at the signature
    async def called(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        return function(*arguments)

    return called
