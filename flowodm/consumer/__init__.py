"""Consumer loops: typed messages from a topic to a handler, with nothing lost on the way."""

from flowodm.consumer.dead_letters.headers import DeadLetter
from flowodm.consumer.dead_letters.replay import Replayed, list_dead_letters, replay_dead_letters
from flowodm.consumer.decorators import async_consumer_loop, consumer_loop
from flowodm.consumer.handling.context import MessageContext
from flowodm.consumer.loop.aio import AsyncConsumerLoop
from flowodm.consumer.loop.sync import ConsumerLoop

__all__ = [
    "AsyncConsumerLoop",
    "ConsumerLoop",
    "DeadLetter",
    "MessageContext",
    "Replayed",
    "async_consumer_loop",
    "consumer_loop",
    "list_dead_letters",
    "replay_dead_letters",
]
