"""Consumer loops: typed messages from a topic to a handler, with nothing lost on the way."""

from flowodm.consumer.aio import AsyncConsumerLoop
from flowodm.consumer.decorators import async_consumer_loop, consumer_loop
from flowodm.consumer.loop import ConsumerLoop

__all__ = ["AsyncConsumerLoop", "ConsumerLoop", "async_consumer_loop", "consumer_loop"]
