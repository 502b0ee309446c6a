"""An id is asked for once, by whoever needs it first."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowodm.avro import wire
from flowodm.exceptions import RegistryUnavailableError
from flowodm.registry.registration import RegisteredId, Registration


class Registry:
    def __init__(self) -> None:
        self.asked = 0
        self.down = False

    def register(self, _subject: str, _schema: Any, _schema_type: str) -> int:
        self.asked += 1
        time.sleep(0.01)  # so that the others come meanwhile
        if self.down:
            raise RegistryUnavailableError("down")
        return 9


def obtained(registry: Any) -> RegisteredId:
    return RegisteredId(registry, Registration("s"), dict, wire.header)


def test_many_threads_ask_once():
    registry, start = Registry(), threading.Barrier(4)
    own = obtained(registry)

    def get() -> bytes:
        start.wait(30)
        return own.get()

    with ThreadPoolExecutor(4) as threads:
        found = [future.result() for future in [threads.submit(get) for _ in range(4)]]
    assert found == [wire.header(9)] * 4
    assert registry.asked == 1


def test_a_failure_is_not_kept():
    registry = Registry()
    registry.down = True
    own = obtained(registry)
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            own.get()
    assert own.header is None
    registry.down = False
    assert own.get() == own.header == wire.header(9)
    assert registry.asked == 3


def test_without_a_registry_there_is_nothing_to_ask():
    own = obtained(None)
    assert own.header == own.get() == b""
