"""A shop whose Kafka client stops to fetch one of its partitions, and says nothing of it.

It does so once there is a file called "fault" in the worker's folder, which it takes away.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from confluent_kafka import Consumer
from shop import Order, handle_slowly

from flowodm.consumer.kafka import poller
from flowodm.consumer.kafka import stalls as standing

__all__ = ["Order", "handle_slowly"]


class FaultyConsumer(Consumer):
    def poll(self, *arguments):
        fault = Path("fault")
        if fault.exists() and self.assignment():
            with contextlib.suppress(FileNotFoundError):  # the other worker took it
                fault.rename(f"taken-{os.getpid()}")
                self.pause(self.assignment()[:1])
        return super().poll(*arguments)


poller.Consumer = FaultyConsumer
standing.ASK_EVERY = 0.5
