"""What tests and demonstrations of Kafka programs need: a broker without Java."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowodm.testing.broker import BrokerError, EmbeddedBroker

__all__ = ["BrokerError", "EmbeddedBroker"]


def __getattr__(name: str) -> Any:
    """Import on demand: `python -m flowodm.testing.broker` must not find itself imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flowodm.testing import broker  # noqa: PLC0415 - as the docstring says

    return getattr(broker, name)
