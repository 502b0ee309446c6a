"""The decorator style: a handler becomes its loop."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Unpack

from flowodm.consumer.loop.aio import AsyncConsumerLoop
from flowodm.consumer.loop.sync import ConsumerLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.consumer.handling.context import Handler
    from flowodm.consumer.options.keywords import DecoratorOptions
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings


def consumer_loop(
    model: type[FlowBaseModel],
    settings: BaseSettings | None = None,
    **options: Unpack[DecoratorOptions],
) -> Callable[[Handler], ConsumerLoop]:
    """Turn a handler into its ConsumerLoop: calling the result runs the loop.

    The plain function stays reachable as ``handler`` and ``__wrapped__``.

    Args:
        model: The model of the messages.
        settings: The profile.
        options: The other options of ConsumerLoop; ``help(ConsumerLoop)`` lists them.
    """

    def decorate(handler: Handler) -> ConsumerLoop:
        loop = ConsumerLoop(model=model, handler=handler, settings=settings, **options)
        update_wrapper(loop, handler)
        return loop

    return decorate


def async_consumer_loop(
    model: type[FlowBaseModel],
    settings: BaseSettings | None = None,
    **options: Unpack[DecoratorOptions],
) -> Callable[[Handler], AsyncConsumerLoop]:
    """Turn a coroutine function into its AsyncConsumerLoop: awaiting a call of it runs the loop.

    The plain function stays reachable as ``handler`` and ``__wrapped__``.

    Args:
        model: The model of the messages.
        settings: The profile.
        options: The other options of AsyncConsumerLoop; ``help(AsyncConsumerLoop)`` lists them.
    """

    def decorate(handler: Handler) -> AsyncConsumerLoop:
        loop = AsyncConsumerLoop(model=model, handler=handler, settings=settings, **options)
        update_wrapper(loop, handler)
        return loop

    return decorate
