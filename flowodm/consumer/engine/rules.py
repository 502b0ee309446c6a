"""Hold what a loop was told to do, as the engine needs it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.retry import FailurePolicy

if TYPE_CHECKING:
    from flowodm.consumer.engine.lanes import BatchRule


@dataclass(frozen=True, slots=True)
class Rules:
    """What a loop was told to do.

    Attributes:
        strategy: Commit before or after the handler.
        ordering: Between which records order is kept.
        failures: What follows a failure.
        max_concurrent: Handlers that run at the same time.
        fetch_size: The most records of one fetch, and of one run.
        buffer_bytes: Fetching stops while the unsettled records' values take more than this.
        fetch_wait: Seconds that a fetch of the client may take (``fetch.wait.max.ms``).
        commit_interval: Seconds between two commits (after_processing).
        commit_ahead: Seconds of committed but unstarted work (before_processing).
        max_poll_interval: Seconds a handler may take before the member has to leave its group
            (``max.poll.interval.ms``); infinite where its partitions are pinned.
        batch: How records are gathered into batches; None: one at a time.
        dead_letter_limit: The share of records that may go to dead letters before the loop
            stops (see `DeadLetterLimit`).
    """

    strategy: CommitStrategy = CommitStrategy.AFTER_PROCESSING
    ordering: Ordering = Ordering.PARTITION
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    max_concurrent: int = 1
    fetch_size: int = 500
    buffer_bytes: int = 64 * 1024 * 1024
    fetch_wait: float = 0.5
    commit_interval: float = 1.0
    commit_ahead: float = 0.1
    max_poll_interval: float = 300.0
    batch: BatchRule | None = None
    dead_letter_limit: float = 0.5

    @property
    def records_in_hand(self) -> int:
        """How many records all handlers together work on at a time."""
        return self.max_concurrent * (1 if self.batch is None else self.batch.size)
