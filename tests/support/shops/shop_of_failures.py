"""Handlers for the options about failures, filters and batches; the model and traces are shop's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shop import Order, attempts, trace

if TYPE_CHECKING:
    from flowodm import MessageContext


class UnavailableError(Exception):
    """May pass."""


class RefusedError(UnavailableError):
    """Will not pass."""


def handle(order: Order, context: MessageContext) -> None:
    """Three attempts for "unavailable", one for anything else that fails."""
    attempts[order.order_id] = attempts.get(order.order_id, 0) + 1
    assert attempts[order.order_id] == context.attempt
    trace("attempt", f"{order.order_id} {order.customer}")
    if order.customer == "unavailable" and context.attempt < 3:
        raise UnavailableError
    if order.customer == "refused":
        raise RefusedError("not this one")
    if order.customer == "wrong":
        raise ValueError("no such customer")
    trace("handled", order.order_id)


def is_order(headers: dict[str, bytes | None]) -> bool:
    wanted = headers.get("kind") != b"noise"
    trace("asked", wanted)
    return wanted


def forget(context: MessageContext) -> None:
    trace("forgotten", context.key.decode())


async def handle_batch(orders: list[Order]) -> None:
    trace("batch", len(orders))
    for order in orders:
        trace("handled", order.order_id)
