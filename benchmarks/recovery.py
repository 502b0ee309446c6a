"""SIGKILL of a worker under load: for how long do its partitions stand still, and all others?

A kill is over when each partition of the dead worker has been handled again, by whomever. Each
kind of membership runs in a fleet of its own under the supervisor, with the restart delay that
every fleet has; last comes a parent written by hand with static membership. One kill at a time,
at a random moment of the heartbeats' interval.

    python benchmarks/recovery.py --workers 2 --kills 20
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from confluent_kafka import Producer
from recovery_shop import Reading

from flowodm.avro.codec import codec_for
from support.brokers import records
from support.brokers.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
#: Seconds between two records of a partition: what a gap cannot be shorter than.
PACE = 0.025
#: Seconds for a fleet to be complete, and for a dead worker's partitions to be handled again.
PATIENCE = 60.0
KINDS = ["classic static", "classic dynamic", "kip848 static", "kip848 dynamic"]
BY_HAND = "by hand, classic static"

FLEET = """
[supervisor]
http = ""
instance_id = "recovery"
[kafka]
bootstrap_servers = "{bootstrap}"
[kafka.options]
"auto.offset.reset" = "earliest"
{protocol}
[consumers.readings]
model = "recovery_shop:Reading"
handler = "recovery_shop:handle"
group_id = "{group}"
commit_strategy = "after_processing"
workers = {workers}
membership = "{membership}"
[consumers.readings.restart]
limit = 0
stable = "500ms"
"""


@dataclass(frozen=True)
class Kill:
    """Seconds without a record: of the dead worker's slowest partition, of any other."""

    recovery: float
    gap_of_others: float


class Notes:
    """What the handlers noted: who handled which partition, and when."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}
        self.calls: list[tuple[float, int, int]] = []
        """Time, partition and pid, in the order of time within a process."""

    def update(self) -> None:
        for path in self.folder.iterdir():
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                partition, at = line.split()
                self.calls.append((int(at) / 1e9, int(partition), int(path.name)))

    def owners(self, since: float) -> dict[int, int]:
        """The pid that handled each partition last."""
        self.update()
        return {p: pid for at, p, pid in sorted(self.calls) if at >= since}

    def forget(self) -> None:
        self.calls.clear()


class Load(threading.Thread):
    """A record for every partition each `PACE` seconds."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._where = (topic, partitions)
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})

    def run(self) -> None:
        topic, partitions = self._where
        encode, number = codec_for(Reading).encode, 0
        while not self.over.wait(PACE):
            number += 1
            for partition in range(partitions):
                self._producer.produce(topic, encode(Reading(number=number)), partition=partition)
            self._producer.poll(0)
        self._producer.flush(10)


def settled(notes: Notes, workers: int, partitions: int) -> dict[int, int]:
    """Wait until each worker handles its share, and did so for a moment; returns the owners."""
    deadline = time.monotonic() + PATIENCE
    before: dict[int, int] = {}
    while time.monotonic() < deadline:
        notes.forget()
        time.sleep(0.5)
        owners = notes.owners(time.monotonic() - 0.5)
        shares = [list(owners.values()).count(pid) for pid in set(owners.values())]
        complete = len(owners) == partitions and len(shares) == workers
        if complete and min(shares) == max(shares) and owners == before:
            return owners
        before = owners
    raise RuntimeError(f"the fleet does not settle: {before}")


def kill_one(notes: Notes, owners: dict[int, int]) -> Kill:
    time.sleep(random.uniform(0, 3))
    victim = random.choice(sorted(set(owners.values())))
    orphaned = {partition for partition, pid in owners.items() if pid == victim}
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    again: dict[int, float] = {}
    while orphaned - again.keys():
        time.sleep(0.05)
        if time.monotonic() > began + PATIENCE:
            raise RuntimeError(f"not handled again: {sorted(orphaned - again.keys())}")
        notes.update()
        for at, partition, pid in notes.calls:
            if partition in orphaned and pid != victim and at > began:
                again[partition] = min(at, again.get(partition, at))
    time.sleep(1.0)  # what the successor's own join does to others
    notes.update()
    gaps = [gap for p in owners.keys() - orphaned for gap in gaps_of(notes, p, began - 1)]
    return Kill(max(again.values()) - began, max(gaps, default=0.0))


def gaps_of(notes: Notes, partition: int, since: float) -> list[float]:
    times = sorted(at for at, p, _ in notes.calls if p == partition and at > since)
    return [after - before for before, after in itertools.pairwise(times)]


@contextlib.contextmanager
def fleet(kind: str, bootstrap: str, topic: str, workers: int, folder: Path) -> Iterator[Notes]:
    """Workers under the supervisor, or under the parent that is written by hand."""
    (folder / "notes").mkdir()
    group = f"group-{topic}"
    protocol, _, membership = kind.partition(" ")
    kip848 = protocol == "kip848"
    text = FLEET.format(
        bootstrap=bootstrap,
        group=group,
        workers=workers,
        membership=membership,
        protocol='"group.protocol" = "consumer"' if kip848 else "",
    )
    (folder / "fleet.toml").write_text(text)
    program = ["-m", "supervisor", "run", str(folder / "fleet.toml")]
    if kind == BY_HAND:
        program = [str(HERE / "recovery_by_hand.py"), bootstrap, topic, group, str(workers)]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "RECOVERY_TOPIC": topic,
        "RECOVERY_NOTES": str(folder / "notes"),
    }
    with (folder / "log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, *program],
            env=os.environ | environment,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        yield Notes(folder / "notes")
    except RuntimeError:
        sys.stderr.write((folder / "log").read_text()[-4000:])
        raise
    finally:
        parent.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            parent.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def run(kind: str, bootstrap: str, workers: int, kills: int) -> list[Kill]:
    partitions = 2 * workers
    topic = f"recovery-{uuid.uuid4().hex[:8]}"
    records.create_topic(bootstrap, topic, partitions, None)
    load = Load(bootstrap, topic, partitions)
    load.start()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            fleet(kind, bootstrap, topic, workers, Path(folder)) as notes,
        ):
            return [kill_one(notes, settled(notes, workers, partitions)) for _ in range(kills)]
    finally:
        load.over.set()
        load.join()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", choices=[*KINDS, BY_HAND], action="append")
    parser.add_argument("--bootstrap", help="a Kafka that runs already")
    arguments = parser.parse_args()
    print(f"{arguments.workers} workers, {arguments.kills} kills each; seconds")
    print(f"{'membership':26} {'median':>7} {'p99':>7} {'worst':>7}   others' largest gap")
    with contextlib.ExitStack() as stack:
        address = arguments.bootstrap
        if address is None:
            address = stack.enter_context(KafkaServer()).bootstrap_servers
        for kind in arguments.only or [*KINDS, BY_HAND]:
            found = run(kind, address, arguments.workers, arguments.kills)
            times = [kill.recovery for kill in found]
            gaps = [kill.gap_of_others for kill in found]
            print(
                f"{kind:26} {statistics.median(times):7.3f} {percentile(times, 0.99):7.3f} "
                f"{max(times):7.3f}   median {statistics.median(gaps):.3f}, worst {max(gaps):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
