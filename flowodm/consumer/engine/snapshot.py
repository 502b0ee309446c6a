"""Describe an engine at one moment. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowodm.events import TP


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a loop's engine.

    Attributes:
        partitions: Those that are assigned.
        in_flight: Runs that a handler works on, those of partitions that are gone included.
        buffered: Fetched records that are not settled.
        waiting: Runs that wait for their next attempt.
        paused: How many partitions are not fetched.
        processed: Records settled so far.
        unfinished: Records that handlers are at; before processing also those that wait for one.
        longest_handler: For how many seconds the slowest record has been handled by now.
        idle: The position of each partition of which nothing is in hand, nor waits for a free
            handler.
        max_poll_interval: Seconds that a handler may take.
    """

    partitions: Sequence[TP]
    in_flight: int
    buffered: int
    waiting: int
    paused: int
    processed: int
    unfinished: int
    longest_handler: float
    idle: Mapping[TP, int]
    max_poll_interval: float
