"""Runs a supervisor inside another program: as a context manager, in a task or in a thread."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from supervisor.report import RunReport


class Embeddable(ABC):
    """An object that runs once until it is stopped, also as a context manager."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._started = threading.Event()
        self._task: asyncio.Task[RunReport] | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @abstractmethod
    async def run(self) -> RunReport:
        """Run until `stop`."""

    @abstractmethod
    def stop(self, *, now: bool = False) -> None:
        """Drain all workers and end."""

    @property
    @abstractmethod
    def _stop_requested(self) -> bool:
        """Whether a stop was requested."""

    def _has_begun(self) -> None:
        """Let the code that enters the context go on: `run` is under way."""
        self._opened.set()
        self._started.set()

    def _stop_once(self) -> None:
        """Request a stop, unless one was requested: a second request would kill."""
        if not self._stop_requested:
            self.stop()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        opened = asyncio.create_task(self._opened.wait())
        await asyncio.wait({self._task, opened}, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            opened.cancel()
            await self._task  # raises its exception
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stop_once()
        if self._task is not None:
            await self._task

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run_in_thread, name="flowodm-supervisor")
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stop_once()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run_in_thread(self) -> None:
        try:
            asyncio.run(self.run())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error
        finally:
            self._started.set()
