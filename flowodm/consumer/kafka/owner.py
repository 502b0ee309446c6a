"""Describe the poller to the parts that it owns."""

from __future__ import annotations

from typing import Protocol


class Owner(Protocol):
    """The poller, as far as its parts need it.

    Attributes:
        error: What ends the loop, if something does.
    """

    error: BaseException | None

    def serve(self, timeout: float) -> None:
        """Poll for callbacks, for so many seconds; drop records that come along."""

    def fail(self, error: BaseException) -> None:
        """End the loop with this error."""
