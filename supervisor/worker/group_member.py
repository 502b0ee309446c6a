"""How a worker is a member of its group: what its configuration comes to, and how fast it beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowodm.consumer.loop.lifecycle import Loop

HEARTBEAT: Final = "heartbeat.interval.ms"
DYNAMIC_MS: Final = 75
"""Milliseconds between the heartbeats of dynamic members of a classic group.

Each death, start and end of a worker is a rebalance there, which every other member hears of in
the answer to its next heartbeat, and the group waits for the last one: with Kafka's 3 s a killed
worker's partitions stood still for 2.3 s although it was evicted at once.
"""
STATIC_MS: Final = 1000
"""The same for static members, whom only a changed number of workers makes rebalance."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """How a consumer is a member of its group.

    Attributes:
        group: The group.
        instance_id: Its group.instance.id, if its membership is static.
        coordinated: Whether the group uses KIP-848's protocol.
        session: What its session time-out is, in words.
    """

    group: str
    instance_id: str | None
    coordinated: bool
    session: str

    @classmethod
    def of(cls, consumer: Mapping[str, Any]) -> GroupMember:
        """The membership that a librdkafka configuration describes."""
        coordinated = str(consumer.get("group.protocol", "classic")).lower() == "consumer"
        milliseconds = int(consumer.get("session.timeout.ms", 45_000))
        return cls(
            group=str(consumer["group.id"]),
            instance_id=consumer.get("group.instance.id") or None,
            coordinated=coordinated,
            session="group.consumer.session.timeout.ms of the broker (45 s by default)"
            if coordinated
            else f"session.timeout.ms ({milliseconds / 1000:g} s)",
        )

    @property
    def inherits(self) -> bool:
        """Whether a successor takes a dead member's place without an eviction.

        A static member of a classic group does; to evict its predecessor would start the
        rebalance that static membership avoids.
        """
        return self.instance_id is not None and not self.coordinated


def speed_up_heartbeats(loop: Loop) -> None:
    """Give a loop the heartbeats of a supervised worker, unless the user set their interval.

    Under KIP-848 the interval is the broker's (group.consumer.heartbeat.interval.ms).
    """
    source = loop.consumer_source()
    if HEARTBEAT not in source.config or source.partitions is not None:
        return
    most = STATIC_MS if GroupMember.of(source.config).instance_id else DYNAMIC_MS
    loop.set_client_defaults({HEARTBEAT: min(int(source.config[HEARTBEAT]), most)})
