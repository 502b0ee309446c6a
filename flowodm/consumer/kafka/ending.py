"""End a consumer: drain, commit what is settled, stay a member until the hooks have run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flowodm.consumer.engine.actions import Awaited
from flowodm.consumer.engine.fetch_plan import SLICE
from flowodm.consumer.kafka.committer import CALL_TIMEOUT, TICK
from flowodm.events import Abandoned, LoopState
from flowodm.exceptions import ConsumerError

if TYPE_CHECKING:
    import threading

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.offsets import Position
    from flowodm.consumer.kafka.committer import Committer
    from flowodm.consumer.kafka.owner import Owner
    from flowodm.consumer.stop import StopSwitch
    from flowodm.events import TP

URGENT_TIMEOUT = 2.0
"""Seconds for the broker's answers where the loop was asked to stop now."""


class Ending:
    """Ends the work of one consumer, bounded by the drain deadline.

    Args:
        dispatch: Lets no further handler start.
        switch: Says until when to wait.
        committer: Commits what is settled at the end.
        owner: The poller.
    """

    def __init__(
        self, dispatch: Dispatch, switch: StopSwitch, committer: Committer, owner: Owner
    ) -> None:
        self._dispatch = dispatch
        self._switch = switch
        self._committer = committer
        self._owner = owner

    def drain(self) -> None:
        """Let the handlers finish, bounded, while polling goes on; then commit."""
        self._dispatch.enter_state(LoopState.DRAINING)
        with self._dispatch as engine:
            engine.stop()
        while time.monotonic() < self._switch.deadline:
            patience = TICK if self._committer.window_under_way else SLICE
            if self._dispatch.wait_for(Awaited.QUIET, patience):
                break
            self._owner.serve(0)
        deadline = max(self._switch.deadline, time.monotonic()) + self.call_timeout
        confirmed = self._committer.await_answer(self._owner.serve, deadline, self._out_of_time)
        with self._dispatch as engine:
            offsets = engine.to_commit()
            unfinished = engine.snapshot(time.monotonic()).unfinished
        if unfinished:
            self._dispatch.tell(Abandoned(unfinished))
        if offsets and not confirmed:
            raise ConsumerError(
                "the last offsets could not be committed: no answer from the broker"
            )
        self._commit_at_last(offsets, deadline)
        with self._dispatch as engine:
            engine.forget()

    def _commit_at_last(self, offsets: dict[TP, Position], deadline: float) -> None:
        """Commit, again and again while there is time: a failure repeats records."""
        while True:
            left = deadline - time.monotonic()
            problem = self._committer.commit_now(
                offsets, max(left, 1.0), self._owner.serve, self._out_of_time
            )
            if problem is None:
                return
            self._owner.serve(SLICE)
            with self._dispatch as engine:
                offsets = engine.to_commit()  # a revoke meanwhile may have settled the matter
            if not offsets:
                return
            if time.monotonic() >= deadline or self._owner.error is not None or self._switch.urgent:
                raise ConsumerError(f"the last offsets could not be committed: {problem}")

    @property
    def call_timeout(self) -> float:
        """Seconds for the last commit, and for the consumer's close."""
        return URGENT_TIMEOUT if self._switch.urgent else CALL_TIMEOUT

    def _out_of_time(self) -> bool:
        """Return whether the loop was asked to stop now, and has waited on since."""
        return self._switch.urgent and time.monotonic() >= self._switch.deadline + URGENT_TIMEOUT

    def linger(self, released: threading.Event) -> None:
        """Stay a member, and within the poll interval, until the shutdown hook has run."""
        while not released.wait(SLICE) and time.monotonic() < self._switch.deadline:
            self._owner.serve(0)
