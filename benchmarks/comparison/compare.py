"""What happens to records with other ways to consume, and with ours: killed, ended, poisoned, fast.

Every program runs in an environment of its own, with the versions that one installed there:

    python3.11 -m venv faust && faust/bin/pip install faust-streaming
    python benchmarks/comparison/compare.py --program with_faust=faust/bin/python

Each scenario has a topic of 4 partitions and a group of its own, on a real Kafka. Lines are JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.append(str(Path(__file__).parents[2] / "tests"))

import fastavro
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from support.brokers import clients
from support.brokers.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
PARTITIONS = 4
KEYS = 50
#: Mean seconds of a record's handler where it takes any.
DELAY = 0.05
#: Seconds: for a program's first record, and with no further record before a run counts as over.
#: After a kill that has to be longer than any program's session: 300 s with flowodm's defaults.
START = 60.0
QUIET = 75.0
SESSION = 330.0
POISON = 37

#: What flowodm 0.3.1 reads, whatever a model's ``value_serializer`` says.
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Record",
        "fields": [{"name": "key", "type": "string"}, {"name": "number", "type": "long"}],
    }
)

#: The program that others are left for, and come back from.
OURS = ("with_flowodm", sys.executable)
FLEET = """
[supervisor]
http = ""
instance_id = "{group}"
[kafka]
bootstrap_servers = "{kafka}"
[consumers.compared]
model = "with_flowodm:Record"
handler = "with_flowodm:{handler}"
start_from = "earliest"
commit_strategy = "after_processing"
max_concurrent = {concurrency}
"""


class Line(NamedTuple):
    key: str
    number: int
    begun: float
    ended: float
    pid: int


@dataclass
class Run:
    """A topic, a group, and whatever program runs on them."""

    program: str
    python: str
    kafka: str
    folder: Path
    concurrency: int = 1
    avro: bool = False
    delay: float = DELAY
    poison: int = -1

    def __post_init__(self) -> None:
        self.topic = f"compared-{uuid.uuid4().hex[:8]}"
        self.notes = self.folder / f"{self.topic}.notes"
        self.notes.touch()

    def produce(self, count: int) -> None:
        new = NewTopic(self.topic, PARTITIONS, replication_factor=1)
        admin = clients.admin_client(self.kafka)
        admin.create_topics([new], operation_timeout=60.0)[self.topic].result(60.0)
        producer = Producer({"bootstrap.servers": self.kafka, "linger.ms": 20})
        for number in range(count):
            key = f"k{number % KEYS}"
            producer.produce(
                self.topic, self._value(key, number), key, partition=number % KEYS % PARTITIONS
            )
            producer.poll(0)
        if producer.flush(60):
            raise RuntimeError("the records could not be produced")

    def _value(self, key: str, number: int) -> bytes:
        record = {"key": key, "number": number}
        if not self.avro:
            return json.dumps(record).encode()
        written = io.BytesIO()
        fastavro.schemaless_writer(written, SCHEMA, record)
        return written.getvalue()

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "COMPARE_KAFKA": self.kafka,
            "COMPARE_TOPIC": self.topic,
            "COMPARE_GROUP": self.topic,
            "COMPARE_NOTES": str(self.notes),
            "COMPARE_CONCURRENCY": str(self.concurrency),
            "COMPARE_DELAY": str(self.delay),
            "COMPARE_POISON": str(self.poison),
            "COMPARE_FORMAT": "avro" if self.avro else "json",
            "PYTHONPATH": str(HERE),
        }
        log = self.folder / f"{self.topic}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                self._command(), stdout=out, stderr=out, env=environment, cwd=self.folder
            )
            try:
                yield process
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()
                process.wait()

    def _command(self) -> list[str]:
        if self.program != "supervisor":
            return [self.python, str(HERE / f"{self.program}.py")]
        fleet = self.folder / f"{self.topic}.toml"
        fleet.write_text(
            FLEET.format(
                kafka=self.kafka,
                group=self.topic,
                concurrency=self.concurrency,
                handler="handle" if self.concurrency == 1 else "handle_soon",
            )
        )
        return [self.python, "-m", "supervisor", "run", str(fleet)]

    def lines(self) -> list[Line]:
        found = []
        whole = self.notes.read_text().rpartition("\n")[0]  # the last one may be half written
        for line in whole.splitlines():
            key, number, begun, ended, pid = line.split()
            found.append(Line(key, int(number), float(begun), float(ended), int(pid)))
        return found

    def until(self, count: int, quiet: float, process: subprocess.Popen[bytes]) -> list[Line]:
        """All lines, once so many different records are among them or nothing comes any more."""
        had, since = -1, time.monotonic()
        while True:
            lines = self.lines()
            if len(lines) != had:
                had, since = len(lines), time.monotonic()
            done = len({line.number for line in lines}) >= count
            if done or process.poll() is not None or time.monotonic() - since > quiet:
                return lines
            time.sleep(0.02)


def killed(run: Run) -> dict[str, object]:
    """SIGKILL of the process that handles, after two fifths, 8 s; then it is started again.

    A supervisor is left to replace its worker.
    """
    count = 400 * run.concurrency
    run.produce(count)
    with run.running() as process:
        before = run.until(count * 2 // 5, START, process)
        os.kill(before[-1].pid, signal.SIGKILL)
        at, first = time.monotonic(), before[-1].pid
        if run.program == "supervisor":
            lines = run.until(count, SESSION, process)
    if run.program != "supervisor":
        with run.running() as process:
            lines = run.until(count, SESSION, process)
    after = [line.ended for line in lines if line.pid != first]
    return {**_audit(lines, count), "standstill": round(min(after) - at, 1) if after else None}


def ended(run: Run) -> dict[str, object]:
    """SIGTERM after two fifths; then the program is started again."""
    count = 200 * run.concurrency
    run.produce(count)
    with run.running() as process:
        run.until(count * 2 // 5, START, process)
        process.send_signal(signal.SIGTERM)
        at = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        took, status = round(time.monotonic() - at, 1), process.poll()
    with run.running() as process:
        lines = run.until(count, QUIET, process)
    return {**_audit(lines, count), "took": took, "status": status}


def moved(run: Run) -> dict[str, object]:
    """SIGTERM after two fifths, ours in the same group until four fifths, then theirs again."""
    count = 200 * run.concurrency
    run.produce(count)
    theirs = run.program, run.python
    for (run.program, run.python), part in [(theirs, 2), (OURS, 4), (theirs, 5)]:
        with run.running() as process:
            lines = run.until(count * part // 5, QUIET, process)
    return _audit(lines, count)


def poisoned(run: Run) -> dict[str, object]:
    """A record that always fails: how often it was tried, and what became of the others."""
    count = 200
    run.delay, run.poison = 0.005, POISON
    run.produce(count)
    with run.running() as process:
        lines = run.until(count + 1, 15.0, process)
        status = process.poll()
    others = {line.number for line in lines if line.key != "poison"}
    behind = {n for n in others if n % KEYS % PARTITIONS == POISON % KEYS % PARTITIONS}
    tries = sum(line.key == "poison" for line in lines)
    return {
        "tries": tries,
        "others_handled": len(others),
        "behind_it_handled": len([n for n in behind if n > POISON]),
        "exited": status,
    }


def fast(run: Run) -> dict[str, object]:
    """Records a second where the handler does next to nothing; it notes each record, in 10 µs."""
    count = 20_000
    run.delay = 0
    run.produce(count)
    with run.running() as process:
        lines = run.until(count, START, process)
    span = max(line.ended for line in lines) - min(line.ended for line in lines)
    return {**_audit(lines, count), "per_second": round(len(lines) / span)}


def _audit(lines: list[Line], count: int) -> dict[str, object]:
    times = Counter(line.number for line in lines)
    of_key: dict[tuple[int, str], list[Line]] = defaultdict(list)
    for line in lines:
        of_key[line.pid, line.key].append(line)
    overlaps = disorder = 0
    for group in of_key.values():
        begun = sorted(group, key=lambda line: line.begun)
        overlaps += sum(b.begun < a.ended for a, b in itertools.pairwise(begun))
        disorder += sum(b.number < a.number for a, b in itertools.pairwise(begun))
    return {
        "records": count,
        "lost": count - len(times),
        "repeated": sum(times.values()) - len(times),
        "same_key_at_once": overlaps,
        "same_key_out_of_order": disorder,
    }


SCENARIOS: dict[str, Callable[[Run], dict[str, object]]] = {
    "killed": killed,
    "ended": ended,
    "moved": moved,
    "poisoned": poisoned,
    "fast": fast,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--program", action="append", required=True, metavar="NAME=PYTHON")
    options.add_argument("--scenario", action="append", choices=SCENARIOS)
    options.add_argument("--concurrency", type=int, action="append")
    options.add_argument("--repeat", type=int, default=1)
    options.add_argument("--avro", action="store_true", help="bare Avro, for flowodm 0.3.1")
    options.add_argument("--logs", type=Path, help="a folder for what the programs print")
    chosen = options.parse_args()
    # So that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        KafkaServer(heap="1g") as server,
        tempfile.TemporaryDirectory(prefix="flowodm-compare-") as folder,
    ):
        for _ in range(chosen.repeat):
            for scenario in chosen.scenario or SCENARIOS:
                for concurrency in chosen.concurrency or [1, 16]:
                    for program, python in (each.split("=", 1) for each in chosen.program):
                        run = Run(
                            program,
                            str(Path(python).absolute()),
                            server.bootstrap_servers,
                            (chosen.logs or Path(folder)).absolute(),
                            concurrency,
                            avro=chosen.avro,
                        )
                        found = SCENARIOS[scenario](run)
                        line = {"program": program, "scenario": scenario, "at_once": concurrency}
                        print(json.dumps({**line, **found}), flush=True)


if __name__ == "__main__":
    main()
