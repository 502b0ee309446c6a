"""How a worker is a member of its consumer group, and how often it sends heartbeats there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowodm.consumer.loop.lifecycle import Loop

HEARTBEAT: Final = "heartbeat.interval.ms"
"""librdkafka's property."""
DYNAMIC_MS: Final = 75
"""Milliseconds between the heartbeats of dynamic members of a classic group.

Each crash, start and stop of a worker causes a rebalance there. Every other member learns of it
from the answer to its next heartbeat, and the group waits for the last one: with Kafka's 3 s a
killed worker's partitions stood still for 2.3 s although it was evicted at once.
"""
STATIC_MS: Final = 1000
"""The same for static members, which rebalance only if the number of workers changes."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """How a consumer is a member of its group.

    Attributes:
        group: The consumer group.
        instance_id: The group.instance.id of a static member; None for a dynamic one.
        coordinated: Whether the group uses the protocol of KIP-848.
        session: The session time-out, in words.
    """

    group: str
    instance_id: str | None
    coordinated: bool
    session: str

    @classmethod
    def of(cls, consumer: Mapping[str, Any]) -> GroupMember:
        """Read the membership from a librdkafka configuration."""
        coordinated = str(consumer.get("group.protocol", "classic")).lower() == "consumer"
        if coordinated:
            session = "group.consumer.session.timeout.ms of the broker (45 s by default)"
        else:
            milliseconds = int(consumer.get("session.timeout.ms", 45_000))
            session = f"session.timeout.ms ({milliseconds / 1000:g} s)"
        return cls(
            group=str(consumer["group.id"]),
            instance_id=consumer.get("group.instance.id") or None,
            coordinated=coordinated,
            session=session,
        )

    @property
    def inherits(self) -> bool:
        """Whether a successor gets a dead member's partitions without an eviction.

        A static member of a classic group does. To evict its predecessor would start the
        rebalance that static membership avoids.
        """
        return self.instance_id is not None and not self.coordinated


def speed_up_heartbeats(loop: Loop) -> None:
    """Shorten a loop's heartbeat interval, unless the user has set it.

    Under KIP-848 the interval is the broker's (group.consumer.heartbeat.interval.ms).
    """
    source = loop.consumer_source()
    if HEARTBEAT not in source.config or source.partitions is not None:
        return
    longest = STATIC_MS if GroupMember.of(source.config).instance_id else DYNAMIC_MS
    loop.set_client_defaults({HEARTBEAT: min(int(source.config[HEARTBEAT]), longest)})
