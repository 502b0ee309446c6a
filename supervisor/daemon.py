"""The supervisor: one asyncio task that keeps the configured workers running.

It has no Kafka client and runs none of the user's code. It does not exit the process, set signal
handlers or configure logging, so that it can run inside another program; the command
`flowodm-supervisor` does that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisor import logs
from supervisor.changes.changes import Changes
from supervisor.changes.requests import ChangeRequest, Requests
from supervisor.control.server import ControlSocket, ControlSocketError
from supervisor.embedding import Embeddable
from supervisor.fleet.configured_slots import configured_members
from supervisor.fleet.fleet import WORKER_ENTRY, Fleet, modules_to_preload
from supervisor.fleet.health import Health
from supervisor.http.server import HttpServer, Views
from supervisor.inbox import Inbox
from supervisor.instrumentation import status
from supervisor.instrumentation.config_hash import config_hash
from supervisor.instrumentation.exposition import Exposition
from supervisor.instrumentation.sampler import Sampler
from supervisor.instrumentation.snapshot import snapshot
from supervisor.process.fork_server import ForkServer
from supervisor.protocol import Heartbeat, Logging
from supervisor.report import RunReport
from supervisor.slot.machine import READY, Slot
from supervisor.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from concurrent.futures import Future

    from supervisor.changes.changes import Change
    from supervisor.config.config import SupervisorConfig
    from supervisor.fleet.member import Member
    from supervisor.instrumentation.snapshot import Observer
    from supervisor.process.worker_process import ProcessEvent

_log = logging.getLogger("supervisor")

TURN = 1.0
"""Seconds after which the main loop turns even if nothing happens."""
STALLED = 5.0
"""Seconds without a turn after which /healthz reports a failure."""


class StartError(Exception):
    """The supervisor cannot start; nothing was started."""


@dataclass(frozen=True, slots=True)
class _StopRequest:
    now: bool


class Supervisor(Embeddable):
    """Runs the workers of a configuration until `stop` is called.

    Use it once, in one of three ways::

        report = await Supervisor(config).run()     # until stop(), or cancellation

        async with Supervisor(config) as supervisor:
            ...                                     # runs meanwhile; drains at the end

        with Supervisor(config) as supervisor:      # the same in a thread of its own
            ...

    Cancelling `run` is the same as `stop()`, a second time as `stop(now=True)`; CancelledError
    is raised when the workers have ended.

    Args:
        config: What to run.
        entry: What each worker process runs; for tests.
        observers: Called with a `Snapshot` at the end of every turn of the main loop. They must
            not block. One that raises is logged and not called again.
        turn: Seconds after which the main loop turns even if nothing happens.
        control: Path of the control socket, if the configuration's is "auto"; None: no socket.
        read: Reads the configuration file again, for `reload`. It may block, and raises
            ConfigError.

    Attributes:
        config: The configuration of the latest accepted change.
        report: How the run ended; None before its end.
    """

    def __init__(
        self,
        config: SupervisorConfig,
        *,
        entry: str = WORKER_ENTRY,
        observers: Sequence[Observer] = (),
        turn: float = TURN,
        control: Path | None = None,
        read: Callable[[], SupervisorConfig] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.report: RunReport | None = None
        table = config.supervisor
        instance_id = table.own_name
        logging_of_workers = Logging(table.log_level, logs.resolve(table.log_format))
        members = configured_members(
            config, instance_id, logging_of_workers, slot=Slot.new(time.monotonic())
        )
        self._inbox: Inbox[_StopRequest | ChangeRequest | tuple[Member, ProcessEvent]] = Inbox()
        server = ForkServer(modules_to_preload(entry, table.preload))
        self._instance_id = instance_id
        self._fleet = Fleet(members, server, entry, post=self._post)
        self._observers = list(observers)
        self._turn_after = turn
        self._sampler = Sampler(lambda: self._fleet.members)
        self._exposition = Exposition(
            self._fleet.fold,
            members=lambda: self._fleet.members,
            measured=lambda member: self._sampler.measured(member, time.monotonic()),
            config_hash=lambda: config_hash(self.config),
            drains=self._fleet.drains,
            last_reload=lambda: self._requests.last_reload,
        )
        self._http: HttpServer | None = None
        self._changes = Changes(config, instance_id, logging_of_workers, fleet=self._fleet)
        self._health = Health(self._fleet, self._changes.recycle)
        path = _control_path(table.control_socket, control)
        self._control = None if path is None else ControlSocket(path, self)
        self._requests = Requests(self._changes, read, self._inbox.put)
        self._ran = False
        self._lock = threading.Lock()
        self._began = self._turned = time.monotonic()
        self._stop_at: float | None = None
        self._was_ready = False

    async def run(self) -> RunReport:
        """Run until `stop`, or until every worker has ended for good.

        Raises:
            StartError: An address is in use; nothing was started.
            RuntimeError: It has run before.
        """
        with self._lock:
            if self._ran:
                raise RuntimeError("a Supervisor runs once; make another one")
            self._ran = True
        self._inbox.open(asyncio.get_running_loop())
        try:
            async with self._serving():
                self._has_begun()
                _log.info("supervisor started", extra=self._fields())
                await self._until_finished()
        finally:
            await self._fleet.close()
            self._requests.close()
        seconds = 0.0 if self._stop_at is None else time.monotonic() - self._stop_at
        outcomes = (member.outcome for member in self._fleet.members)
        self.report = RunReport(tuple(o for o in outcomes if o is not None), seconds)
        _log.info("supervisor ended: %s", self.report.status.name.lower(), extra=self._fields())
        return self.report

    def stop(self, *, now: bool = False) -> None:
        """Drain all workers and end. A second call kills them, as `now` does at once.

        Safe from any thread, in a signal handler, and at any time: before the run it ends the
        run at once, after the run it does nothing.
        """
        self._inbox.put(_StopRequest(now))

    def reload(self, config: SupervisorConfig | None = None) -> Future[Change]:
        """Run another configuration; workers that are the same in both are not touched.

        Safe from any thread, as are `restart`, `scale`, `pause` and `resume`. The result comes
        when the change is planned; `changing` and `status` show its progress. (In a coroutine
        use asyncio.wrap_future.)

        Args:
            config: The configuration; None reads its file again.

        Returns:
            The slots that change. Its exception is a ConfigError or a ChangeRefusedError; then
            nothing is changed.
        """
        return self._requests.reload(config)

    def restart(self, consumer: str | None = None, slot: int | None = None) -> Future[Change]:
        """Replace workers one after the other; the new ones load new code.

        Args:
            consumer: Replace only this consumer's workers.
            slot: Replace only this one of them.
        """
        return self._requests.restart(consumer, slot)

    def scale(self, consumer: str, workers: int) -> Future[Change]:
        """Run a consumer with another number of workers, until the next reload."""
        return self._requests.scale(consumer, workers)

    def pause(self, consumer: str | None = None) -> Future[Change]:
        """Have all workers, or a consumer's, stop fetching; they stay members of their groups."""
        return self._requests.pause(consumer, paused=True)

    def resume(self, consumer: str | None = None) -> Future[Change]:
        """Have paused workers fetch again."""
        return self._requests.pause(consumer, paused=False)

    # The main loop

    async def _until_finished(self) -> None:
        """Turn the main loop until all slots have ended; a cancellation requests a stop."""
        cancelled: asyncio.CancelledError | None = None
        while not self._fleet.finished:
            try:
                await self._turn()
            except asyncio.CancelledError as error:
                cancelled = error
                self.stop()
        if cancelled is not None:
            raise cancelled

    async def _turn(self) -> None:
        """Wait for a message or a deadline, and act on it."""
        await self._wait()
        self._turned = time.monotonic()
        for message in self._inbox.take_all():
            match message:
                case _StopRequest(now):
                    self._stop(now=now)
                case ChangeRequest() as request:
                    self._requests.carry_out(request)
                    self.config = self._changes.config
                case member, event:
                    self._fleet.handle(member, event)
        self._health.look(time.monotonic())
        self._changes.turn()
        self._fleet.tick()
        self._sampler.look(time.monotonic())
        self._log_readiness()
        self._call_observers()

    async def _wait(self) -> None:
        timeout = self._turn_after
        for deadline in (self._fleet.next_deadline(), self._changes.next_deadline()):
            if deadline is not None:
                timeout = min(timeout, deadline - time.monotonic())
        await self._inbox.wait(timeout)

    def _stop(self, *, now: bool) -> None:
        second = self._stop_at is not None
        if not second:
            self._stop_at = time.monotonic()
        self._requests.close()
        self._changes.stop()
        _log.info("stopping now" if now or second else "stopping", extra=self._fields())
        self._fleet.stop(now=now or second)

    def _log_readiness(self) -> None:
        ready = self.ready
        if ready and not self._was_ready:
            _log.info("every worker is assigned", extra=self._fields())
        self._was_ready = ready

    def _call_observers(self) -> None:
        if not self._observers:
            return
        fleet = snapshot(
            self._fleet.members,
            time.monotonic(),
            stop_at=self._stop_at,
            reloads=self._requests.reloads,
            reloading=self.changing,
        )
        for observer in tuple(self._observers):
            try:
                observer(fleet)
            except Exception:  # noqa: BLE001 - an observer must not stop the fleet
                _log.exception("an observer failed and is not called again", extra=self._fields())
                self._observers.remove(observer)

    # Messages

    def _post(self, member: Member, event: ProcessEvent) -> None:
        is_routine = isinstance(event, Heartbeat) and event.joined and member.slot.state in READY
        self._inbox.post((member, event), can_wait=is_routine and not self.changing)

    @property
    def _stop_requested(self) -> bool:
        return self._stop_at is not None or any(
            isinstance(message, _StopRequest) for message in self._inbox.waiting
        )

    # Views

    @property
    def ready(self) -> bool:
        """Whether every worker is assigned, and no stop was requested. From any thread."""
        return not self._unready()

    @property
    def changing(self) -> bool:
        """Whether a change was requested or is under way. From any thread."""
        return self._requests.waiting or self._changes.rollout.under_way

    @property
    def http_address(self) -> tuple[str, int] | None:
        """Host and port of the HTTP server; None if there is none."""
        return self._http.address if self._http else None

    def status(self) -> dict[str, Any]:
        """Return the content of /status. From any thread."""
        now = time.monotonic()
        return {
            "instance_id": self._instance_id,
            "version": VERSION,
            "config_hash": config_hash(self.config),
            "state": "running" if self._stop_at is None else "draining",
            "ready": self.ready,
            "time": round(time.time(), 3),
            "changing": self.changing,
            "leaving": self._fleet.leaving,
            "given_up": self._changes.rollout.halted or None,
            "last_reload": status.reload(self._requests.last_reload),
            "uptime_seconds": round(now - self._began, 3),
            "failures": status.failures(self._fleet.failures.latest),
            "consumers": status.consumers(self._fleet.members, now, self._sampler.measured),
        }

    def history(self) -> dict[str, Any]:
        """Return the content of /history: the last 15 minutes. From any thread."""
        return self._sampler.history(time.monotonic())

    def state_changes(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the latest state changes of all slots, oldest first. From any thread.

        Args:
            after: Only changes with a higher number than this; they are numbered from 1.
        """
        return [change.shown() for change in self._fleet.states.after(after)]

    def _unready(self) -> list[str]:
        stopping = [] if self._stop_at is None else ["the supervisor is stopping"]
        return stopping + status.unready(self._fleet.members, time.monotonic())

    def _fields(self) -> dict[str, object]:
        return {"instance_id": self._instance_id, "workers": len(self._fleet.members)}

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """Serve the control socket and HTTP. If an address is in use, no worker is started."""
        if self._control is not None:
            try:
                await self._control.start()
            except ControlSocketError as error:
                raise StartError(str(error)) from error
        try:
            async with self._serving_views():
                yield
        finally:
            if self._control is not None:
                await self._control.close()

    @contextlib.asynccontextmanager
    async def _serving_views(self) -> AsyncIterator[None]:
        if (address := self.config.supervisor.http_address) is None:
            yield
            return
        views = Views(
            metrics=self._exposition.render,
            healthy=lambda: time.monotonic() - self._turned < STALLED,
            unready=self._unready,
            status=self.status,
            history=self.history,
        )
        self._http = HttpServer(views, *address, self.config.supervisor.http_hosts)
        try:
            await self._http.start(asyncio.get_running_loop())
        except OSError as error:
            where = self.config.supervisor.http
            raise StartError(
                f"cannot listen on {where}: {error.strerror or error}; is another supervisor "
                f'running? Give this one another supervisor.http, or "" for none'
            ) from error
        _log.info("listening on http://%s:%d", *self._http.address or (), extra=self._fields())
        try:
            yield
        finally:
            await self._http.close()


def _control_path(configured: str, default: Path | None) -> Path | None:
    """Return the path of the control socket; None if there is to be none."""
    if configured == "auto":
        return default
    return Path(configured) if configured else None
