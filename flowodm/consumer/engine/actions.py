"""Describe one turn: what the engine is told, and what it asks the poller to do. Pure.

The poller hands over what arrived, carries out the actions that it gets, and fetches as it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowodm.consumer.engine.lanes import Record
    from flowodm.consumer.engine.offsets import Position
    from flowodm.consumer.engine.window import Window
    from flowodm.events import TP


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What one fetch brought.

    Attributes:
        records: By partition, in offset order; at least one of each.
        ends: Offsets at which there is nothing more to fetch, by partition.
    """

    records: Mapping[TP, Sequence[Record]] = field(default_factory=dict)
    ends: Mapping[TP, int] = field(default_factory=dict)


NOTHING_ARRIVED = Arrivals()


class Awaited(Enum):
    """A change of the engine that the poller may wait for.

    QUIET: nothing is under way, nor has to be.
    ROOM: another fetch fits into the buffer.
    WINDOW: records may be committed ahead of their handlers.
    ROOM_OR_WINDOW: either of the two.
    """

    QUIET = "quiet"
    ROOM = "room"
    WINDOW = "window"
    ROOM_OR_WINDOW = "room or window"


@dataclass(frozen=True, slots=True)
class PausePartitions:
    """Fetch nothing from these partitions."""

    tps: Sequence[TP]


@dataclass(frozen=True, slots=True)
class ResumePartitions:
    """Fetch from these partitions again."""

    tps: Sequence[TP]


@dataclass(frozen=True, slots=True)
class CommitSettled:
    """Commit what is settled (after_processing)."""

    offsets: Mapping[TP, Position]


@dataclass(frozen=True, slots=True)
class CommitWindow:
    """Commit records whose handlers start when this is confirmed (before_processing)."""

    window: Window


@dataclass(frozen=True, slots=True)
class LeaveGroup:
    """A handler, or its event loop, is past the poll interval: leave the group."""


@dataclass(frozen=True, slots=True)
class RejoinGroup:
    """The handlers that made the member leave have ended: join again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Measure the lag, and look which partitions stand still.

    Attributes:
        positions: The settled position of each partition; None where it is not known.
        idle: The position of each partition of which nothing is in hand.
    """

    positions: Mapping[TP, int | None]
    idle: Mapping[TP, int]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch, with room for what comes.

    Attributes:
        timeout: Seconds to wait for a first record.
        window_patience: If none came: seconds to wait for the next window. 0: do not wait.
    """

    timeout: float
    window_patience: float = 0.0


@dataclass(frozen=True, slots=True)
class WaitForRoom:
    """Wait for a change of the full buffer, then serve the client's callbacks.

    Attributes:
        awaited: Which change ends the wait.
        timeout: Seconds to wait for it.
        serve_now: Serve the callbacks each time, as an answer is expected; otherwise now and then.
    """

    awaited: Awaited
    timeout: float
    serve_now: bool = False


Action = (
    PausePartitions
    | ResumePartitions
    | CommitSettled
    | CommitWindow
    | LeaveGroup
    | RejoinGroup
    | Sample
)


@dataclass(frozen=True, slots=True)
class Turn:
    """What the poller does in one turn: the actions in their order, then the fetch."""

    actions: Sequence[Action]
    fetch: Fetch | WaitForRoom
