"""Asking one at a time, without waiting for ever for whoever asks already."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowodm.exceptions import RegistryUnavailableError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

READING_TURN = 1.0
"""Seconds that a reader waits for another one that asks for the same schema.

With a silent registry every handler of a loop would wait otherwise, as long as the requests take,
and records whose schema is known would wait with them. The loop comes back to the record.
"""

WRITING_TURN = 10.0
"""Seconds that a writer waits for another one that registers the same schema.

About as long as a request may take: of many threads that write while the registry is silent,
each then waits for two requests at most, and not for those of all others.
"""


@contextmanager
def turn(lock: threading.Lock, seconds: float, what: str) -> Iterator[None]:
    """Hold a lock in the block, unless others keep it for too long.

    Args:
        lock: Held by whoever asks the registry.
        seconds: How long to wait for it.
        what: What is asked for, for the error's text.

    Raises:
        RegistryUnavailableError: Somebody else has been asking for all that time.
    """
    if not lock.acquire(timeout=seconds):
        raise RegistryUnavailableError(f"{what}: no answer yet to another thread")
    try:
        yield
    finally:
        lock.release()
