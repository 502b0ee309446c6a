"""Back-pressure: which partitions are not fetched while the buffer is full. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from flowodm.consumer.engine.partition import Partition
    from flowodm.events import TP

#: Seconds beyond ``fetch.wait.max.ms`` for which the buffer may be full before fetching is paused.
MARGIN = 0.25


class Pressure:
    """Pauses partitions that hold records while there is no room for more.

    Only those: one that waits for a retry does not keep the others from being fetched.

    A pause makes librdkafka throw away what it has prefetched, and what is resumed is asked for
    behind the request under way, which a broker with nothing new answers after
    ``fetch.wait.max.ms``. So a pause pays only where what is still buffered when there is room
    again lasts longer than that: the buffer holds two fetches, and has room when one is handled,
    so that takes as long as it was full.

    Args:
        fetch_wait: Seconds that a fetch may take (``fetch.wait.max.ms``).
    """

    def __init__(self, fetch_wait: float) -> None:
        self._grace = fetch_wait + MARGIN
        self._full_since: float | None = None

    def changes(
        self,
        partitions: Collection[Partition],
        now: float,
        *,
        room: bool,
        everything: bool = False,
    ) -> tuple[list[TP], list[TP]]:
        """Partitions to pause, and to resume; they are marked as told.

        Args:
            partitions: All of the loop's.
            now: Monotonic seconds.
            room: Whether another fetch fits into the buffer.
            everything: Whether nothing at all is to be fetched.
        """
        if everything:
            pause, resume = [p for p in partitions if not p.paused], []
        elif room:
            self._full_since = None
            pause, resume = [], [p for p in partitions if p.paused]
        else:
            self._full_since = now if self._full_since is None else self._full_since
            lasting = self.lasting(now)
            pause = [p for p in partitions if lasting and p.buffered and not p.paused]
            resume = [p for p in partitions if p.paused and not p.buffered]
        for partition in pause:
            partition.paused = True
        for partition in resume:
            partition.paused = False
        return [p.tp for p in pause], [p.tp for p in resume]

    def lasting(self, now: float) -> bool:
        """Whether the buffer has been full for longer than the grace."""
        return self._full_since is not None and now - self._full_since >= self._grace
