"""Takes requests for changes from any thread, and passes them to the main loop."""

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

_log = logging.getLogger("supervisor")

ERROR_LENGTH = 2000
"""Characters of a refused reload's error that are kept."""


def _succeeded() -> LastReload:
    now = time.time()
    return LastReload(successful=True, succeeded_at=now, at=now)


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A change that waits for the main loop.

    Attributes:
        change: Makes the change.
        answer: Gets the result, or the reason why the change was refused.
    """

    change: Callable[[], Change]
    answer: Future[Change]


class Requests:
    """Takes requests, and answers each of them once, even if the main loop has ended.

    Args:
        changes: Makes the changes.
        read: Reads the configuration file again; None if there is none.
        post: Queues a request for the main loop, from any thread; that calls `carry_out`.

    Attributes:
        reloads: How many reloads were requested, refused ones included.
        last_reload: How the latest reload ended; before the first, the successful start.
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
        """Request a reload, see `Supervisor.reload`."""
        self.reloads += 1
        answer = self._new_answer()
        answer.add_done_callback(self._reloaded)
        if config is not None:
            self._request(lambda: self._changes.reload(config), answer)
        elif self._read is None:
            self._refuse(answer, ChangeRefusedError("it was not started from a file"))
        else:
            reading = threading.Thread(
                target=self._read_and_reload, args=(self._read, answer), daemon=True
            )
            reading.start()
        return answer

    def restart(self, consumer: str | None, slot: int | None) -> Future[Change]:
        """Request a restart, see `Supervisor.restart`."""
        return self._request(lambda: self._changes.restart(consumer, slot), self._new_answer())

    def scale(self, consumer: str, workers: int) -> Future[Change]:
        """Request another number of workers, see `Supervisor.scale`."""
        return self._request(lambda: self._changes.scale(consumer, workers), self._new_answer())

    def pause(self, consumer: str | None, *, paused: bool) -> Future[Change]:
        """Request a pause or its end, see `Supervisor.pause` and `Supervisor.resume`."""
        return self._request(
            lambda: self._changes.pause(consumer, paused=paused), self._new_answer()
        )

    def carry_out(self, request: ChangeRequest) -> None:
        """Make the change, and answer. To be called on the main loop."""
        if self._closed:
            return  # answered by `close`
        try:
            change = request.change()
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._refuse(request.answer, error)
        else:
            _log.info("changing", extra=asdict(change))
            self._settle(request.answer, lambda: request.answer.set_result(change))

    def close(self) -> None:
        """Refuse the requests that wait, and all later ones."""
        self._closed = True
        for answer in tuple(self._open):
            self._refuse(answer, ChangeRefusedError("the supervisor is stopping, or has ended"))

    def _request(self, change: Callable[[], Change], answer: Future[Change]) -> Future[Change]:
        self._post(ChangeRequest(change, answer))
        if self._closed:
            self.close()
        return answer

    def _reloaded(self, answer: Future[Change]) -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        if error is None:
            self.last_reload = _succeeded()
            return
        message = str(error) or type(error).__name__
        self.last_reload = replace(
            self.last_reload, successful=False, at=time.time(), error=message[:ERROR_LENGTH]
        )

    def _new_answer(self) -> Future[Change]:
        answer: Future[Change] = Future()
        self._open.add(answer)
        return answer

    def _read_and_reload(
        self, read: Callable[[], SupervisorConfig], answer: Future[Change]
    ) -> None:
        try:
            config = read()
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._refuse(answer, error)
        else:
            self._request(lambda: self._changes.reload(config), answer)

    def _refuse(self, answer: Future[Change], error: Exception) -> None:
        _log.error("a change is refused, and nothing is changed: %s", error)
        self._settle(answer, lambda: answer.set_exception(error))

    def _settle(self, answer: Future[Change], settle: Callable[[], None]) -> None:
        """Answer, unless the request is answered already or was cancelled."""
        with self._lock:
            is_open = answer in self._open
            self._open.discard(answer)
        if is_open and answer.set_running_or_notify_cancel():
            settle()
