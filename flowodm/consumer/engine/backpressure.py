"""Decide when the buffer has room, and which partitions are not fetched meanwhile. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowodm.consumer.engine.actions import Action, PausePartitions, ResumePartitions

if TYPE_CHECKING:
    from collections.abc import Collection

    from flowodm.consumer.engine.partition import Buffer, Partition
    from flowodm.consumer.engine.rules import Rules
    from flowodm.events import TP

MARGIN = 0.25
"""Seconds beyond ``fetch.wait.max.ms`` for which the buffer may be full before a pause."""
IDLE_FETCHES = 20
"""Fetches that the buffer holds while handlers have nothing to do.

Kafka sends thousands of records of one partition, and so of few keys, in one answer. With the
room of two fetches the handlers would work off one partition's keys while all others wait.
"""


class Pressure:
    """Pauses partitions that hold records while there is no room for more.

    Only those: one that waits for a retry does not keep the others from being fetched.

    A pause makes librdkafka throw away what it has prefetched, and what is resumed is asked for
    behind the request under way, which a broker with nothing new answers after
    ``fetch.wait.max.ms``. So a pause pays only where what is still buffered when there is room
    again lasts longer than that: the buffer holds two fetches, and has room when one is handled,
    so that takes as long as it was full.

    Args:
        rules: What the loop was told.
        buffer: What is fetched and not settled.
    """

    def __init__(self, rules: Rules, buffer: Buffer) -> None:
        self._grace = rules.fetch_wait + MARGIN
        self._buffer = buffer
        self._most_bytes = rules.buffer_bytes
        self._idle_records = IDLE_FETCHES * rules.fetch_size
        self._refill = max(rules.fetch_size, 2 * rules.records_in_hand)
        self._full_since: float | None = None
        self._some_paused = False

    def has_room(self, ahead_size: int, *, hungry: bool) -> bool:
        """Return whether another fetch fits into the buffer.

        It holds two fetches; with before_processing also two windows, where handlers are fast
        enough for large ones; and more while what it holds cannot keep every handler busy.

        Args:
            ahead_size: How many records may be committed and not started.
            hungry: Whether handlers have too little to do (after_processing).
        """
        most = max(self._refill, 2 * ahead_size)
        if hungry:
            most = max(most, self._idle_records)
        return self._buffer.records <= most and self._buffer.size < self._most_bytes

    def lasting(self, now: float) -> bool:
        """Return whether the buffer has been full for longer than the grace.

        What fills it is paused then, so that a fetch brings only other records.
        """
        return self._full_since is not None and now - self._full_since >= self._grace

    def changes(
        self, partitions: Collection[Partition], now: float, *, room: bool, everything: bool
    ) -> list[Action]:
        """Say which partitions to pause, and which to resume; mark them as such.

        Args:
            partitions: All of the loop's.
            now: Monotonic seconds.
            room: Whether another fetch fits into the buffer.
            everything: Whether nothing at all is to be fetched.
        """
        wanted = self._wanted(partitions, now, room=room, everything=everything)
        if not wanted and not self._some_paused:
            return []  # the usual case, which is not to cost anything with 1,000 partitions
        self._some_paused = bool(wanted)
        return _told(partitions, wanted)

    def _wanted(
        self, partitions: Collection[Partition], now: float, *, room: bool, everything: bool
    ) -> set[Partition]:
        """Return which partitions are to be paused."""
        if everything:
            return set(partitions)
        if room:
            self._full_since = None
            return set()
        if self._full_since is None:
            self._full_since = now
        holding = {partition for partition in partitions if partition.buffered}
        if self.lasting(now):
            return holding
        return {partition for partition in holding if partition.paused}


def _told(partitions: Collection[Partition], wanted: set[Partition]) -> list[Action]:
    """Mark the partitions that change, and say which."""
    pause: list[TP] = []
    resume: list[TP] = []
    for partition in partitions:
        paused = partition in wanted
        if paused is not partition.paused:
            partition.paused = paused
            (pause if paused else resume).append(partition.tp)
    actions: list[Action] = []
    if pause:
        actions.append(PausePartitions(pause))
    if resume:
        actions.append(ResumePartitions(resume))
    return actions
