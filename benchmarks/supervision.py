"""What supervising costs: 64 idle workers, starts, drains, a rolling restart, two cores.

    python benchmarks/supervision.py            # all parts
    python benchmarks/supervision.py idle start # some of them; --help lists them

The exit status is 1 if a target is missed. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from contest import Row, table
from recovery import Load, Notes, gaps_of
from recovery_shop import Reading
from supervised import HERE, Supervised, cpu_seconds, memory

from flowodm.avro.codec import codec_for
from support.brokers import records
from support.brokers.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDLE = 64
#: Seconds for the fleet to become quiet, and for which it is watched then.
QUIET, WATCHED = 10.0, 30.0
STARTED = 16
ROLLED = 8
#: Records for each throughput, of about a millisecond each: enough for starts not to matter.
WORK = 12_000
KIP848 = '"group.protocol" = "consumer"'


def idle(bootstrap: str) -> Iterator[Row]:
    """64 workers without a record: what the supervisor takes, and each of them."""
    part = f"{IDLE} idle workers"
    with fleet(bootstrap, IDLE, f"workers = {IDLE}") as running:
        pids = running.until_ready(IDLE)
        time.sleep(QUIET)
        parent = running.process.pid
        before, workers_before = cpu_seconds(parent), sum(map(cpu_seconds, pids))
        time.sleep(WATCHED)
        core = (cpu_seconds(parent) - before) / WATCHED * 100
        cores = (sum(map(cpu_seconds, pids)) - workers_before) / WATCHED * 100
        yield under(part, "the supervisor's CPU", core, "% of one core", 1.0)
        yield under(part, "the supervisor's memory (RSS)", memory(parent)[0], "MB", 60.0)
        yield Row(part, "a worker's CPU", cores / IDLE, "% of one core")
        private = [memory(pid)[1] for pid in pids]
    alone = imports()
    own = statistics.median(private)
    yield Row(part, "the handler's imports in a process alone (USS)", alone, "MB")
    yield under(part, "a worker's private memory (USS), median", own, "MB", 15.0)
    yield under(part, "the same, the largest", max(private), "MB", 15.0)


def imports() -> float:
    """Private megabytes of a process that has imported the handler and nothing more."""
    program = "import supervised_shop, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as alone:
        if alone.stdout is not None:
            alone.stdout.readline()
        private = memory(alone.pid)[1]
        alone.communicate()
    return private


def start(bootstrap: str) -> Iterator[Row]:
    """16 workers more, of a fleet whose fork server is warm; and 16 from nothing."""
    for name, options in (("classic group", ""), ("KIP-848 group", KIP848)):
        part = f"{STARTED} workers start, until all are assigned: {name}"
        with fleet(bootstrap, STARTED + 1, "workers = 1", options=options) as running:
            running.until_ready(1)
            began = time.monotonic()
            running.ask("POST", "/scale", consumer="readings", workers=STARTED + 1)
            running.until_ready(STARTED + 1)
            yield under(part, "the fork server is warm", time.monotonic() - began, "s", 2.0)
        began = time.monotonic()
        with fleet(bootstrap, STARTED, f"workers = {STARTED}", options=options) as running:
            running.until_ready(STARTED)
            yield Row(part, "from the command on", time.monotonic() - began, "s")


def drain(bootstrap: str) -> Iterator[Row]:
    """16 idle workers, from SIGTERM to the supervisor's end."""
    for name, options in (("classic group", ""), ("KIP-848 group", KIP848)):
        times = [_seconds_of_drain(bootstrap, options) for _ in range(3)]
        part = "the drain of 16 idle workers, median of 3"
        yield under(part, name, statistics.median(times), "s", 1.0)


def _seconds_of_drain(bootstrap: str, options: str) -> float:
    with fleet(bootstrap, STARTED, f"workers = {STARTED}", options=options) as running:
        running.until_ready(STARTED)
        time.sleep(2.0)
        began = time.monotonic()
        running.process.terminate()
        if status := running.process.wait(60):
            raise RuntimeError(f"the drain was not clean: {status}")
        return time.monotonic() - began


def rolling(bootstrap: str) -> Iterator[Row]:
    """8 workers are replaced one after the other under load: no partition stands still for long."""
    partitions = 2 * ROLLED
    shapes = {
        "classic group, static": (f"workers = {ROLLED}", ""),
        "KIP-848 group, static": (f"workers = {ROLLED}", KIP848),
        "classic group, dynamic": (f'workers = {ROLLED}\nmembership = "dynamic"', ""),
        "pinned": ("partitions_per_worker = 2", ""),
    }
    for name, (consumer, options) in shapes.items():
        part = f"rolling restart of {ROLLED} workers: the largest gap of any partition"
        with fleet(bootstrap, partitions, consumer, options=options) as running:
            running.until_ready(ROLLED)
            load = Load(bootstrap, running.topic, partitions)
            load.start()
            notes = Notes(running.notes)
            time.sleep(5.0)
            began = time.monotonic()
            running.ask("POST", "/restart")
            running.until_ready(ROLLED)
            took = time.monotonic() - began
            time.sleep(1.0)
            load.over.set()
            load.join()
            notes.update()
        gaps = [max(gaps_of(notes, p, began - 0.5), default=99.0) for p in range(partitions)]
        yield under(part, name, max(gaps), "s", 1.0)
        yield Row(
            part, f"{name}: the median of the partitions' largest", statistics.median(gaps), "s"
        )
        yield Row(part, f"{name}: the whole restart", took, "s")


def throughput(bootstrap: str) -> Iterator[Row]:
    """A handler that needs a core for itself: two workers against one.

    What two bare processes make of the same work says how much of two cores there is to be had.
    """
    part = f"throughput with a handler of about a millisecond of CPU, {WORK:,} records"
    by_fleet: dict[int, list[float]] = {1: [], 2: []}
    bare: dict[int, list[float]] = {1: [], 2: []}
    for _, processes in itertools.product(range(3), (1, 2)):
        by_fleet[processes].append(_seconds_for(bootstrap, processes))
        bare[processes].append(_seconds_bare(processes))
    one, two = (statistics.median(bare[number]) for number in (1, 2))
    yield Row(part, "1 bare process, the same work", WORK / one, "calls/s")
    yield Row(part, "2 bare processes", WORK / two, "calls/s", one / two)
    one, two = (statistics.median(by_fleet[number]) for number in (1, 2))
    yield Row(part, "1 worker", WORK / one, "records/s")
    met = one / two >= 1.8
    yield Row(part, "2 workers", WORK / two, "records/s", one / two, "ratio >= 1.8", met)


def _seconds_bare(processes: int) -> float:
    share = WORK // processes
    program = f"import supervised_shop as s\nfor n in range({share}): s.toil(n)"
    began = time.monotonic()
    running = [
        subprocess.Popen([sys.executable, "-c", program], cwd=HERE) for _ in range(processes)
    ]
    for each in running:
        each.wait()
    return time.monotonic() - began


def _seconds_for(bootstrap: str, workers: int) -> float:
    consumer = (
        f"partition_groups = {json.dumps([[0, 1], [2, 3]] if workers > 1 else [[0, 1, 2, 3]])}"
    )
    with fleet(bootstrap, 4, consumer, handler="work") as running:
        running.until_ready(workers)
        encode = codec_for(Reading).encode
        values = (encode(Reading(number=number)) for number in range(WORK))
        raw = [records.Raw(value, partition=n % 4) for n, value in enumerate(values)]
        records.produce(bootstrap, running.topic, raw)
        notes = Notes(running.notes)
        while len(notes.calls) < WORK:
            time.sleep(0.1)
            notes.update()
    times = sorted(at for at, _, _ in notes.calls)
    return times[-1] - times[0]


@contextlib.contextmanager
def fleet(
    bootstrap: str, partitions: int, consumer: str, *, handler: str = "note", options: str = ""
) -> Iterator[Supervised]:
    topic = f"supervision-{uuid.uuid4().hex[:8]}"
    records.create_topic(bootstrap, topic, partitions)
    with (
        tempfile.TemporaryDirectory() as folder,
        Supervised(
            Path(folder), bootstrap, topic, consumer, handler=handler, options=options
        ) as running,
    ):
        yield running


def under(part: str, name: str, value: float, unit: str, target: float) -> Row:
    return Row(part, name, value, unit, None, f"< {target:g}", value < target)


PARTS: dict[str, Callable[[str], Iterator[Row]]] = {
    "idle": idle,
    "start": start,
    "drain": drain,
    "rolling": rolling,
    "throughput": throughput,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bootstrap", help="a Kafka that runs already")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        bootstrap = arguments.bootstrap
        if bootstrap is None:
            bootstrap = stack.enter_context(KafkaServer(heap="1g")).bootstrap_servers
        for part in arguments.parts or PARTS:
            found = list(PARTS[part](bootstrap))
            rows += found
            if not arguments.json:
                print(table(found) + "\n", flush=True)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
