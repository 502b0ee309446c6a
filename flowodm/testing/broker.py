"""A Kafka broker in a process of its own, without Java: librdkafka's mock cluster.

It is good for demonstrations and quick tests, but does not prove what a real broker does. It keeps
about 5 MB a partition, creates a topic with 4 partitions when a record is sent to it, lets a
group's first member join after 3 s, and loses all data when it ends.

`python -m flowodm.testing.broker` starts one; it prints its address and ends when its standard
input is closed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException, Producer

if TYPE_CHECKING:
    from types import TracebackType

START_TIMEOUT = 20.0
"""Seconds that the process may take to load librdkafka and print its address."""
_ANSWER_TIMEOUT = 10.0
"""Seconds in which the mock cluster has to answer in its own process."""
_STOP_TIMEOUT = 5.0
"""Seconds that the process may take to end before it is killed."""
_PARENT_CHECK_INTERVAL = 1.0
"""Seconds between two checks whether the parent process still exists."""


class BrokerError(Exception):
    """The embedded broker did not start."""


class EmbeddedBroker:
    """A Kafka cluster that runs during the context, and never longer than this process.

    ::

        with EmbeddedBroker() as broker:
            connect(bootstrap_servers=broker.bootstrap_servers)

    It listens on free ports of 127.0.0.1. The terminal's signals do not reach it, so that its
    clients can shut down after Ctrl-C.

    Args:
        brokers: The number of brokers in the cluster.

    Attributes:
        bootstrap_servers: Comma-separated "host:port"; empty before the start.

    Raises:
        ValueError: ``brokers`` is less than 1.
    """

    def __init__(self, brokers: int = 1) -> None:
        if brokers < 1:
            raise ValueError(f"a cluster must have at least 1 broker, got {brokers}")
        self.bootstrap_servers = ""
        self._brokers = brokers
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The id of the broker's process; None if it was not started."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the broker's process is running."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        """Start the broker.

        Raises:
            BrokerError: It did not print its address in time, or ended.
        """
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", __spec__.name, "--brokers", str(self._brokers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        try:
            self.bootstrap_servers = self._address(self._process)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the broker and wait for its end; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_STOP_TIMEOUT)  # closes its standard input
        if process.poll() is None:
            process.kill()
            process.communicate()

    def _address(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None  # noqa: S101 - for the type: it is a pipe
        if not select.select([process.stdout], [], [], START_TIMEOUT)[0]:
            raise BrokerError(f"the embedded broker has not started within {START_TIMEOUT:g} s")
        line = process.stdout.readline().strip()
        if not line:
            raise BrokerError(
                "the embedded broker ended with status "
                f"{process.wait(_STOP_TIMEOUT)} before it had started; its output says why"
            )
        return line


def main() -> int:
    """Serve until standard input is closed or the parent process has ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--brokers", type=int, default=1, help="the number of brokers in the cluster"
    )
    brokers = parser.parse_args().brokers
    parent = os.getppid()
    try:
        cluster = Producer({"test.mock.num.brokers": brokers, "log_level": 4})
        members = cluster.list_topics(timeout=_ANSWER_TIMEOUT).brokers.values()
    except KafkaException as error:
        sys.stderr.write(f"cannot start a mock cluster of {brokers} brokers: {error}\n")
        return 1
    sys.stdout.write(",".join(f"{member.host}:{member.port}" for member in members) + "\n")
    sys.stdout.flush()
    # Another child of the parent may hold the pipe open after the parent has ended.
    while os.getppid() == parent:
        if select.select([sys.stdin], [], [], _PARENT_CHECK_INTERVAL)[0] and not os.read(0, 4096):
            break
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
