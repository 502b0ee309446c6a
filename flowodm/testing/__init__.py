"""Tools for tests of Kafka programs; docs/testing.md shows all of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowodm.testing.broker import BrokerError, EmbeddedBroker
    from flowodm.testing.memory.kafka import InMemoryKafka
    from flowodm.testing.proxies.kafka import KafkaProxy
    from flowodm.testing.proxies.registry import RegistryProxy, RegistryRequest, WrongAnswer
    from flowodm.testing.proxies.tcp import Fault, FaultProxy, Way
    from flowodm.testing.records import Record, poison, tombstone
    from flowodm.testing.results import Attempt, Fate, LoopResult
    from flowodm.testing.round_trip import assert_round_trip
    from flowodm.testing.runner import arun_loop, run_loop

__all__ = [
    "Attempt",
    "BrokerError",
    "EmbeddedBroker",
    "Fate",
    "Fault",
    "FaultProxy",
    "InMemoryKafka",
    "KafkaProxy",
    "LoopResult",
    "Record",
    "RegistryProxy",
    "RegistryRequest",
    "Way",
    "WrongAnswer",
    "arun_loop",
    "assert_round_trip",
    "poison",
    "run_loop",
    "tombstone",
]

_MODULES = {
    "broker": ("BrokerError", "EmbeddedBroker"),
    "memory.kafka": ("InMemoryKafka",),
    "proxies.kafka": ("KafkaProxy",),
    "proxies.registry": ("RegistryProxy", "RegistryRequest", "WrongAnswer"),
    "proxies.tcp": ("Fault", "FaultProxy", "Way"),
    "records": ("Record", "poison", "tombstone"),
    "results": ("Attempt", "Fate", "LoopResult"),
    "round_trip": ("assert_round_trip",),
    "runner": ("arun_loop", "run_loop"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import on demand, so that `python -m flowodm.testing.broker` does not import itself."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
