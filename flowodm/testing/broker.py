"""A Kafka broker in a process of its own, without Java: librdkafka's mock cluster.

Good for demonstrations and quick tests, no proof of what a real broker does: it keeps about
5 MB a partition, makes a topic with 4 partitions when something is sent to it, lets a group's first
member join after 3 s, and forgets everything when it ends.

`python -m flowodm.testing.broker` starts one by hand; it prints its address and ends with its
standard input.
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
"""Seconds that the process may take to import librdkafka and say its address."""
_ANSWER_TIMEOUT = 10.0
_STOP_TIMEOUT = 5.0
_LOOK_AROUND = 1.0


class BrokerError(Exception):
    """The embedded broker did not start."""


class EmbeddedBroker:
    """A Kafka cluster for as long as the context is open, and never longer than this process.

    ::

        with EmbeddedBroker() as broker:
            connect(bootstrap_servers=broker.bootstrap_servers)

    It listens on free ports of 127.0.0.1. Signals of the terminal do not reach it, so that what
    uses it can end in good order after Ctrl-C.

    Args:
        brokers: How many brokers the cluster has.

    Attributes:
        bootstrap_servers: Comma-separated "host:port"; "" before the start.

    Raises:
        ValueError: There would be no broker at all.
    """

    def __init__(self, brokers: int = 1) -> None:
        if brokers < 1:
            raise ValueError(f"a cluster has 1 broker or more, not {brokers}")
        self.bootstrap_servers = ""
        self._brokers = brokers
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The broker's process, or None where none was started."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            BrokerError: It did not say its address in time; says what it said instead.
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
        """End it and wait for its end; a second time nothing happens."""
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
            raise BrokerError(f"the embedded broker said nothing within {START_TIMEOUT:g} s")
        line = process.stdout.readline().strip()
        if not line:
            raise BrokerError(
                f"the embedded broker ended with status {process.wait(_STOP_TIMEOUT)} instead of "
                "starting; what it printed says why"
            )
        return line


def main() -> int:
    """Serve until standard input ends or the parent process is another one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--brokers", type=int, default=1, help="how many the cluster has")
    brokers = parser.parse_args().brokers
    parent = os.getppid()
    try:
        cluster = Producer({"test.mock.num.brokers": brokers, "log_level": 4})
        members = cluster.list_topics(timeout=_ANSWER_TIMEOUT).brokers.values()
    except KafkaException as error:
        sys.stderr.write(f"no mock cluster of {brokers} brokers: {error}\n")
        return 1
    sys.stdout.write(",".join(f"{member.host}:{member.port}" for member in members) + "\n")
    sys.stdout.flush()
    # A process that the parent forked may hold the pipe open for longer than the parent lives.
    while os.getppid() == parent:
        if select.select([sys.stdin], [], [], _LOOK_AROUND)[0] and not os.read(0, 4096):
            break
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
