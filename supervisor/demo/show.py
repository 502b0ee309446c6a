"""`flowodm-supervisor demo`: from the start of the broker to the audit of the orders."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from flowodm import connect
from flowodm.testing import BrokerError, EmbeddedBroker
from supervisor.demo.audit import partitions_of, summary, tally
from supervisor.demo.fleet import DEFAULT_PORT, FleetProcess
from supervisor.demo.producer import OrderProducer
from supervisor.demo.screen import screen
from supervisor.demo.view import drain_report, logged, matters, of_the_drain
from supervisor.instrumentation.status_table import Worker, workers_of
from supervisor.report import ExitStatus
from supervisor.slot.machine import READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.demo.audit import Tally
    from supervisor.demo.screen import Screen
    from supervisor.demo.view import Entry

SECONDS = "DEMO_SECONDS"
"""Environment variable that makes the demo kill a worker, and end by itself."""
PORT = "DEMO_PORT"
"""Environment variable with the port of the page, instead of the default."""
VICTIM = "packing"
"""Consumer whose worker is killed."""
CONSUMERS = ("packing", "mailing")
TURN = 0.2
"""Seconds between two updates of the screen."""
START_TIMEOUT = 30.0
"""Seconds until every worker is assigned: imports, and the embedded broker's slow joins."""
RECOVERY_TIMEOUT = 30.0
"""Seconds until the new worker has processed orders of all partitions of the killed one."""
CATCH_UP_TIMEOUT = 30.0
"""Seconds for the consumers to process the rest after the last order was produced."""
DRAIN_TIMEOUT = 40.0
"""Seconds for the drain, the signals that follow it and the supervisor's own end."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the demo."""
FOREIGN = ("KAFKA_", "SCHEMA_REGISTRY_")
"""Beginnings of environment variables that are about another Kafka."""


class DemoError(Exception):
    """The demo cannot go on, or did not show what it should."""


class InterruptedDemoError(DemoError):
    """A signal has ended the demo."""


def main() -> int:
    """Run the demo: until Ctrl-C, or for DEMO_SECONDS with a worker killed in the middle.

    Returns:
        The exit status: 0 if the fleet drained cleanly and, with DEMO_SECONDS, the killed worker
        came back and every produced order was processed by both consumers.
    """
    # librdkafka's log lines would disturb the table; the demo watches the broker itself.
    logging.getLogger("flowodm").addHandler(logging.NullHandler())
    try:
        seconds = _seconds(os.environ.get(SECONDS, ""))
        port = _port(os.environ.get(PORT, ""))
    except ValueError as error:
        return _failed(error, ExitStatus.USAGE)
    _remove_other_brokers()
    try:
        with _stop_requests() as requests, screen() as shown:
            _run(shown, requests, seconds, port=port)
    except (DemoError, BrokerError, KafkaException, OSError) as error:
        return _failed(error, 1)
    return 0


def _failed(error: Exception, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"the demo failed: {error}\n")
    return status


def _seconds(text: str) -> float | None:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < float("inf"):
            return seconds
    raise ValueError(f"{SECONDS}={text} is not a number of seconds; write it as in {SECONDS}=15")


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    with contextlib.suppress(ValueError):
        if 0 < (port := int(text)) < 1 << 16:
            return port
    raise ValueError(f"{PORT}={text} is not a port; write it as in {PORT}={DEFAULT_PORT}")


def _remove_other_brokers() -> None:
    """Remove variables about the user's own Kafka, which are not for the embedded broker."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list while the context is open."""
    requests: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: requests.append(number))
        for number in STOPPING
    }
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(shown: Screen, requests: list[int], seconds: float | None, port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="flowodm-demo-") as folder, EmbeddedBroker() as broker:
        shown.say(f"a broker listens on {broker.bootstrap_servers}")
        connection = connect(bootstrap_servers=broker.bootstrap_servers)
        try:
            with (
                OrderProducer() as producer,
                FleetProcess(broker.bootstrap_servers, Path(folder), port) as fleet,
            ):
                shown.say(f"in a browser: {fleet.url}/   metrics: {fleet.url}/metrics")
                _Demo(
                    shown=shown,
                    requests=requests,
                    broker=broker,
                    producer=producer,
                    fleet=fleet,
                    ledgers=Path(folder),
                ).run(seconds)
        finally:
            connection.reset()


class _Demo:
    """Runs the demo with all its parts."""

    def __init__(
        self,
        *,
        shown: Screen,
        requests: list[int],
        broker: EmbeddedBroker,
        producer: OrderProducer,
        fleet: FleetProcess,
        ledgers: Path,
    ) -> None:
        self._shown = shown
        self._requests = requests
        self._broker = broker
        self._producer = producer
        self._fleet = fleet
        self._ledgers = ledgers
        self._began = time.monotonic()
        self._workers: tuple[Worker, ...] = ()
        self._drained: list[Entry] = []
        """Log entries of workers that have drained."""
        self._last_event = ""

    def run(self, seconds: float | None) -> None:
        """Show the fleet, with `seconds` also a recovery; then drain and audit.

        Raises:
            DemoError: Something went wrong; the message says what.
        """
        complaints: list[str] = []
        try:
            if seconds is None:
                self._until(lambda: False, None, "")
            else:
                self._show_a_recovery(seconds)
        except InterruptedDemoError as error:
            if seconds is not None:
                complaints.append(str(error))
        except DemoError as error:
            complaints.append(str(error))
        if self._broker.alive:  # a dead broker confirms no order and takes no commit
            self._producer.stop()
            complaints += self._drain() if self._fleet.running else []
        complaints += self._conclude(audited=seconds is not None and not complaints)
        if complaints:
            raise DemoError("; ".join(complaints))

    # With DEMO_SECONDS

    def _show_a_recovery(self, seconds: float) -> None:
        ready = f"every worker is assigned within {START_TIMEOUT:g} s"
        self._until(self._all_ready, START_TIMEOUT, ready)
        self._until(lambda: self._elapsed > seconds / 2, None, "")
        victim, since = self._kill()
        back = f"{victim.name} is back on its partitions within {RECOVERY_TIMEOUT:g} s"
        self._until(lambda: self._is_back(victim, since), RECOVERY_TIMEOUT, back)
        self._shown.say(f"{victim.name} is back on partitions {list(victim.partitions)}")
        self._until(lambda: self._elapsed > seconds, None, "")
        self._producer.stop()
        late = time.monotonic() + CATCH_UP_TIMEOUT  # after which the audit names what is missing
        self._until(lambda: self._all_processed() or time.monotonic() > late, None, "")

    def _kill(self) -> tuple[Worker, int]:
        """Kill a worker by SIGKILL; return the worker, and the number of the next order."""
        self._update()
        victim = next(worker for worker in self._workers if worker.consumer == VICTIM)
        if victim.pid is None:
            raise DemoError(f"{victim.name} has no process to kill")
        self._shown.say(f"SIGKILL to {victim.name} (pid {victim.pid})")
        os.kill(victim.pid, signal.SIGKILL)
        return victim, len(self._producer.partitions)

    def _is_back(self, victim: Worker, since: int) -> bool:
        """Return whether a new process has processed orders of each of the victim's partitions."""
        now = next(worker for worker in self._workers if worker.name == victim.name)
        if now.pid in {None, victim.pid} or now.restarts <= victim.restarts:
            return False
        processed = self._processed(f"{victim.consumer}.{now.pid}")
        reached = partitions_of(self._producer.partitions, processed, since=since)
        return reached >= set(victim.partitions)

    def _all_ready(self) -> bool:
        states = {state.value for state in READY}
        return bool(self._workers) and all(worker.state in states for worker in self._workers)

    def _all_processed(self) -> bool:
        return not any(tally.missing for tally in self._tallies().values())

    def _processed(self, files: str) -> list[int]:
        return [
            int(number)
            for path in self._ledgers.glob(files)
            for number in path.read_bytes().split(b"\n")[:-1]
        ]

    def _tallies(self) -> dict[str, Tally]:
        return {
            consumer: tally(self._producer.partitions, self._processed(f"{consumer}.*"))
            for consumer in CONSUMERS
        }

    # All the time

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _until(self, done: Callable[[], bool], timeout: float | None, goal: str) -> None:
        """Update the screen until `done`.

        Args:
            done: Whether the goal is reached.
            timeout: Seconds for it; None for no limit.
            goal: What should happen, for the error.

        Raises:
            DemoError: The goal was not reached in time, or a part of the demo ended.
            InterruptedDemoError: A signal has ended the demo.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            if self._requests:
                raise InterruptedDemoError("interrupted before its end")
            self._check_parts()
            if deadline is not None and time.monotonic() > deadline:
                raise DemoError(f"did not happen: {goal}")
            self._update()
            time.sleep(TURN)

    def _check_parts(self) -> None:
        """Raise a DemoError if a part of the demo has ended."""
        if not self._fleet.running:
            self._print_log()
            status = self._fleet.exit_status
            raise DemoError(f"the supervisor ended with status {status}: {self._last_event}")
        if not self._broker.alive:
            raise DemoError("the embedded broker ended by itself")
        if self._producer.error is not None:
            raise DemoError(f"the producer cannot go on: {self._producer.error}")

    def _update(self) -> None:
        """Show the log's new lines and the current state of the workers."""
        self._print_log()
        status = self._fleet.status()
        if status is None:
            return
        self._workers = workers_of(status)
        title = f"{self._elapsed:5.1f} s, {self._producer.confirmed} orders produced"
        self._shown.show(self._workers, title)

    def _print_log(self) -> None:
        """Print the new log entries that matter, and keep those of drained workers."""
        for entry in self._fleet.log():
            if of_the_drain(entry):
                self._drained.append(entry)
            self._last_event = str(entry["event"])
            if matters(entry):
                self._shown.say(logged(entry))

    # The end

    def _drain(self) -> list[str]:
        """Let the fleet drain, and print the drain report; return what went wrong."""
        self._shown.say("draining; Ctrl-C again kills at once" if self._requests else "draining")
        forwarded = min(len(self._requests), 1)
        self._fleet.signal(signal.SIGTERM)
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self._fleet.running and time.monotonic() < deadline:
            for _ in self._requests[forwarded:]:
                self._fleet.signal(signal.SIGQUIT)  # a second SIGTERM so soon is ignored
            forwarded = max(forwarded, len(self._requests))
            self._update()
            time.sleep(TURN)
        self._update()
        status = self._fleet.exit_status
        self._shown.say("drain report:")
        for text in drain_report(self._drained):
            self._shown.say(text)
        if status is None:
            return [f"the supervisor did not end within {DRAIN_TIMEOUT:g} s"]
        # SIGTERM ends a supervisor that has no handler for it yet; it has no fleet then, either.
        clean = status in {ExitStatus.CLEAN, -signal.SIGTERM}
        return [] if clean else [f"the supervisor ended with status {status}"]

    def _conclude(self, *, audited: bool) -> list[str]:
        """Print the summary; return what is wrong with the orders if they are audited."""
        tallies = self._tallies()
        restarted = sum(worker.restarts for worker in self._workers)
        self._shown.say(summary(self._producer.confirmed, tallies, restarted))
        if not audited:
            return []
        unconfirmed = len(self._producer.partitions) - self._producer.confirmed
        complaints = [f"the broker did not confirm {unconfirmed} orders"] if unconfirmed else []
        complaints += [tally.complaint(name) for name, tally in tallies.items()]
        return [complaint for complaint in complaints if complaint]
