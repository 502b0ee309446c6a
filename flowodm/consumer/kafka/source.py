"""Describe what a loop consumes, and with which client configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowodm.consumer.engine.start import Start


@dataclass(frozen=True, slots=True)
class Source:
    """What is consumed, and with which consumer.

    Attributes:
        config: librdkafka's configuration, complete but for the callbacks.
        topic: The topic.
        partitions: Exactly these partitions (no group membership), or None to join the group.
        fetch_size: The most records of one fetch.
        poll_timeout: The most seconds of one poll.
        revoke_patience: Seconds that handlers get to finish when their partition is revoked.
        start: Where to begin with a partition for which the group has committed nothing; None:
            where ``auto.offset.reset`` says.
    """

    config: dict[str, Any] = field(repr=False)  # it holds the password
    topic: str
    partitions: tuple[int, ...] | None
    fetch_size: int
    poll_timeout: float
    revoke_patience: float = 30.0
    start: Start | None = None
