"""Consumer loops: typed messages from a topic to a handler, with nothing lost on the way."""

from flowodm.consumer.aio import AsyncConsumerLoop
from flowodm.consumer.context import MessageContext
from flowodm.consumer.decorators import async_consumer_loop, consumer_loop
from flowodm.consumer.letters import DeadLetter
from flowodm.consumer.loop import ConsumerLoop
from flowodm.consumer.replay import Replayed, list_dead_letters, replay_dead_letters

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
