"""Decide how the poller fetches next. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowodm.consumer.engine.actions import Awaited, Fetch, WaitForRoom

if TYPE_CHECKING:
    from flowodm.consumer.engine.window import Windows

SLICE = 0.1
"""The longest time, in seconds, that the poller may be out of reach: how late it sees a stop."""
ANSWER_TICK = 0.002
"""Seconds between two looks for the answer to a commit ahead, which takes some 6 ms.

A poll that has brought it goes on waiting for a record, and the next window may be due by then.
"""


class FetchPlan:
    """Decides how to fetch, and for how long to wait.

    Args:
        poll_timeout: The most seconds of one poll.
        commit_ahead: Seconds of committed but unstarted work (before_processing).
    """

    def __init__(self, poll_timeout: float, commit_ahead: float) -> None:
        self._slice = min(poll_timeout, SLICE)
        # Nobody says how far a run has come, so the next window is asked for in time.
        self._patience = min(self._slice, commit_ahead / 4 or self._slice)

    def next(self, windows: Windows, *, wanted: bool) -> Fetch | WaitForRoom:
        """Say how to fetch next.

        Args:
            windows: What waits to be committed ahead, and whether an answer is expected.
            wanted: Whether what comes may be kept.
        """
        if windows.under_way:  # its answer comes in a poll, as records do
            if wanted:
                return Fetch(ANSWER_TICK)
            return WaitForRoom(Awaited.ROOM, ANSWER_TICK, serve_now=True)
        if windows.waiting:
            if wanted:
                return Fetch(0.0, window_patience=self._patience)
            return WaitForRoom(Awaited.ROOM_OR_WINDOW, self._patience)
        if wanted:
            return Fetch(self._slice)
        return WaitForRoom(Awaited.ROOM, self._slice)
