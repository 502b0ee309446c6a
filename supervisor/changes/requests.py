"""Changes that are asked for from any thread, and made on the main loop."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from supervisor.changes.changes import Change, ChangeRefusedError
from supervisor.instrumentation.status import LastReload

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.changes.changes import Changes
    from supervisor.config.config import SupervisorConfig

log = logging.getLogger("supervisor")


ERROR_LENGTH = 2000
"""Characters that are remembered of why a reload was refused."""


def _succeeded() -> LastReload:
    now = time.time()
    return LastReload(successful=True, succeeded_at=now, at=now)


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A change that waits for its turn of the main loop."""

    change: Callable[[], Change]
    answer: Future[Change]


class Requests:
    """Takes requests, and sees to it that each is answered once, also when nobody serves any more.

    Args:
        changes: Makes the changes.
        read: Reads the configuration anew; None: it came from no file.
        post: Hands a request to the main loop, from any thread; it comes back in `carry_out`.

    Attributes:
        reloads: How many reloads were asked for, refused ones included.
        last_reload: How the latest ended; until then the start, which succeeded.
    """

    def __init__(
        self,
        changes: Changes,
        read: Callable[[], SupervisorConfig] | None,
        post: Callable[[ChangeRequest], None],
    ) -> None:
        self._changes = changes
        self._read = read
        self._post = post
        self._lock = threading.Lock()
        self._open: set[Future[Change]] = set()
        self._closed = False
        self.reloads = 0
        self.last_reload = _succeeded()

    @property
    def waiting(self) -> bool:
        """Whether a request has no answer yet."""
        return bool(self._open)

    def reload(self, config: SupervisorConfig | None) -> Future[Change]:
        """See `Supervisor.reload`."""
        self.reloads += 1
        read, answer = self._read, self._new()
        answer.add_done_callback(self._reloaded)
        if config is not None:
            self._ask(lambda: self._changes.reload(config), answer)
        elif read is None:
            self._refuse(answer, ChangeRefusedError("it was not started from a file"))
        else:
            threading.Thread(target=self._read_anew, args=(read, answer), daemon=True).start()
        return answer

    def restart(self, consumer: str | None, slot: int | None) -> Future[Change]:
        """See `Supervisor.restart`."""
        return self._ask(lambda: self._changes.restart(consumer, slot))

    def scale(self, consumer: str, workers: int) -> Future[Change]:
        """See `Supervisor.scale`."""
        return self._ask(lambda: self._changes.scale(consumer, workers))

    def pause(self, consumer: str | None, *, paused: bool) -> Future[Change]:
        """See `Supervisor.pause` and `Supervisor.resume`."""
        return self._ask(lambda: self._changes.pause(consumer, paused=paused))

    def carry_out(self, request: ChangeRequest) -> None:
        """On the main loop: change the fleet, and answer."""
        if self._closed:
            return  # answered by `close`
        try:
            change = request.change()
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._refuse(request.answer, error)
        else:
            log.info("changing", extra=asdict(change))
            self._settle(request.answer, lambda: request.answer.set_result(change))

    def close(self) -> None:
        """Nothing will be changed any more: refuse what waits, and what is still to come."""
        self._closed = True
        for answer in tuple(self._open):
            self._refuse(answer, ChangeRefusedError("the supervisor is stopping, or has ended"))

    def _ask(
        self, change: Callable[[], Change], answer: Future[Change] | None = None
    ) -> Future[Change]:
        answer = answer or self._new()
        self._post(ChangeRequest(change, answer))
        if self._closed:
            self.close()
        return answer

    def _reloaded(self, answer: Future[Change]) -> None:
        if answer.cancelled():
            return
        if (error := answer.exception()) is None:
            self.last_reload = _succeeded()
        else:
            why = str(error) or type(error).__name__
            self.last_reload = replace(
                self.last_reload, successful=False, at=time.time(), error=why[:ERROR_LENGTH]
            )

    def _new(self) -> Future[Change]:
        answer: Future[Change] = Future()
        self._open.add(answer)
        return answer

    def _read_anew(self, read: Callable[[], SupervisorConfig], answer: Future[Change]) -> None:
        try:
            config = read()
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._refuse(answer, error)
        else:
            self._ask(lambda: self._changes.reload(config), answer)

    def _refuse(self, answer: Future[Change], error: Exception) -> None:
        log.error("a change is refused, and nothing is changed: %s", error)
        self._settle(answer, lambda: answer.set_exception(error))

    def _settle(self, answer: Future[Change], settle: Callable[[], None]) -> None:
        """Answer, unless that was done already or nobody wants it any more."""
        with self._lock:
            mine = answer in self._open
            self._open.discard(answer)
        if mine and answer.set_running_or_notify_cancel():
            settle()
