"""Groups whose members are processes: made, stopped, killed, and audited by what they traced."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaException, TopicPartition

from support.brokers.clients import consumer_of
from support.paths import TESTS
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.loops import Bench

PATIENCE = 40.0
MEMBER = Path(__file__).with_name("member_process.py")
#: Milliseconds after which the broker of tests/chaos takes a silent member for dead.
SESSION_MS = 1_500
#: The protocols of Kafka's groups, as librdkafka's properties.
PROTOCOLS: dict[str, dict[str, str]] = {
    "cooperative": {},
    "eager": {"partition.assignment.strategy": "range"},
    "kip848": {"group.protocol": "consumer"},
}
#: Protocol and whether membership is static. Assignors know nothing of static membership.
GROUPS = [
    *((protocol, False) for protocol in PROTOCOLS),
    ("cooperative", True),
    ("kip848", True),
]


@dataclass(slots=True)
class Handling:
    """One call of a handler; ``end`` is None where the member died in it."""

    member: str
    partition: int
    offset: int
    number: int
    begin: float
    end: float | None = None


class CommittedOffsets:
    """What a group has committed, looked at again and again by a client of another kind."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._samples: list[dict[int, int]] = []
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()

    def now(self) -> dict[int, int]:
        return self._samples[-1] if self._samples else {}

    def went_back(self) -> list[tuple[int, int, int]]:
        """Partition, committed offset, and the smaller one that followed it."""
        return [
            (partition, before[partition], after.get(partition, 0))
            for before, after in itertools.pairwise(self._samples)
            for partition in before
            if after.get(partition, 0) < before[partition]
        ]

    def _sample(self) -> None:
        places = [TopicPartition(self._bench.topic, n) for n in self._bench.ends()]
        with consumer_of(self._bench.kafka, self._bench.group) as observer:
            while not self._done.wait(0.02):
                with contextlib.suppress(KafkaException):
                    found = observer.committed(places, timeout=5)
                    self._samples.append({p.partition: p.offset for p in found if p.offset >= 0})


class Member:
    """A process that is a member of the group."""

    def __init__(self, name: str, told: dict[str, Any], folder: Path) -> None:
        self.name = name
        self.trace = folder / f"trace-{name}"
        self.log = folder / f"log-{name}"
        told = {**told, "trace": str(self.trace)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(MEMBER), json.dumps(told)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
                stdout=log,
                stderr=log,
            )

    def lines(self) -> list[list[str]]:
        if not self.trace.exists():
            return []
        return [line.split() for line in self.trace.read_text().split("\n")[:-1]]

    def count(self, kind: str) -> int:
        return sum(line[0] == kind for line in self.lines())

    def until_assigned(self, times: int = 1) -> Self:
        def assigned() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return sum(line[0] == "assigned" and len(line) > 2 for line in self.lines()) >= times

        wait_until(assigned, PATIENCE, f"{self.name} has partitions")
        return self

    def until_handled(self, more: int) -> Self:
        goal = self.count("end") + more
        wait_until(lambda: self.count("end") >= goal, PATIENCE, f"{self.name} handles {more}")
        return self

    def stop(self) -> None:
        """SIGTERM, and wait for its end, which has to be a good one."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def had_at_last(self) -> set[int]:
        """The partitions that it had when it ended, also those it had begun nothing of."""
        had: set[int] = set()
        for kind, _, *what in self.lines():
            if kind == "assigned":
                had |= set(map(int, what))
            elif kind in {"revoked", "lost"}:
                had -= set(map(int, what))
        return had

    def handlings(self) -> list[Handling]:
        found: dict[tuple[str, str], Handling] = {}
        every: list[Handling] = []
        for kind, moment, *what in self.lines():
            if kind == "begin":
                partition, offset, number = what
                handling = Handling(
                    self.name, int(partition), int(offset), int(number), float(moment)
                )
                found[partition, offset] = handling
                every.append(handling)
            elif kind == "end":
                found[what[0], what[1]].end = float(moment)
        return every


class Members:
    """All members of one group, dead or alive, and what the group has committed meanwhile.

    Args:
        bench: Topic and group.
        folder: An empty directory.
        protocol: One of PROTOCOLS.
        static: Whether members have a ``group.instance.id``: their name up to a full stop.
        options: Arguments of their loops.
    """

    def __init__(
        self, bench: Bench, folder: Path, protocol: str, *, static: bool = False, **options: Any
    ) -> None:
        self._bench = bench
        self._folder = folder
        self._static = static
        self._hurry = folder / "hurry"
        self._told = {
            "kafka": bench.kafka,
            "topic": bench.topic,
            "group": bench.group,
            "hurry": str(self._hurry),
            "options": options,
            "settings": {
                "session_timeout_ms": SESSION_MS,
                "max_poll_records": 100,
                "extra_config": PROTOCOLS[protocol],
            },
        }
        self.all: list[Member] = []
        self.killed: set[str] = set()
        self._committed = CommittedOffsets(bench)

    def __enter__(self) -> Self:
        self._committed.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.all:
            if member.process.poll() is None:
                member.kill()
        self._committed.__exit__()

    def start(self, name: str, kind: str = "sync") -> Member:
        told = {**self._told, "kind": kind}
        if self._static:
            told["options"] = {**told["options"], "group_instance_id": name.partition(".")[0]}
        member = Member(name, told, self._folder)
        self.all.append(member)
        return member

    def kill(self, member: Member) -> None:
        self.killed.add(member.name)
        member.kill()

    def hurry(self) -> None:
        """From now on records take no time."""
        self._hurry.touch()

    def until_committed(self) -> None:
        """Until the group has committed all that there is."""
        ends = self._bench.ends()
        wait_until(lambda: self._committed.now() == ends, PATIENCE, f"committed: {ends}")

    def handlings(self) -> list[Handling]:
        return [handling for member in self.all for handling in member.handlings()]

    # ---- what has to be true of every history ----------------------------------------------

    def offsets_went_back(self) -> list[tuple[int, int, int]]:
        return self._committed.went_back()

    def numbers(self) -> set[int]:
        """What was handled, to the end."""
        return {handling.number for handling in self.handlings() if handling.end is not None}

    def repeated(self) -> list[tuple[Handling, Handling]]:
        """Pairs of handlings of one record, the earlier one first."""
        by_number = defaultdict(list)
        for handling in sorted(self.handlings(), key=lambda h: h.begin):
            by_number[handling.number].append(handling)
        return [pair for group in by_number.values() for pair in itertools.pairwise(group)]

    def overlaps(self) -> list[tuple[Handling, Handling]]:
        """Handlings of one partition by two living members at the same time."""
        by_partition = defaultdict(list)
        for handling in self.handlings():
            by_partition[handling.partition].append(handling)
        found = []
        for handlings in by_partition.values():
            handlings.sort(key=lambda h: h.begin)
            latest: dict[str, Handling] = {}
            for handling in handlings:
                for other in latest.values():
                    alive = other.end is not None and other.member != handling.member
                    if alive and other.end > handling.begin:
                        found.append((other, handling))
                known = latest.get(handling.member)
                if known is None or (handling.end or 0) > (known.end or 0):
                    latest[handling.member] = handling
        return found

    def out_of_order(self, keys: int) -> list[tuple[Handling, Handling]]:
        """Neighbours of one key, by offset, of which the later one began before the other's end.

        Of records that were handled twice only the first time counts: what follows a kill
        repeats the rest of the partition from the committed offset.
        """
        first: dict[int, Handling] = {}
        for handling in sorted(self.handlings(), key=lambda h: h.begin):
            first.setdefault(handling.number, handling)
        by_key = defaultdict(list)
        for handling in sorted(first.values(), key=lambda h: h.offset):
            by_key[handling.partition, handling.number % keys].append(handling)
        return [
            (one, two)
            for handlings in by_key.values()
            for one, two in itertools.pairwise(handlings)
            if two.begin < (one.end or one.begin)
        ]

    def lost_with_partitions(self, numbers: set[int]) -> bool:
        """Whether every record that nobody finished was in a partition that a member lost.

        It died, or the broker took it for dead, as on a machine that stood still for SESSION_MS.
        """
        lost = set().union(*(m.had_at_last() for m in self.all if m.name in self.killed))
        lost |= {
            int(n) for m in self.all for kind, _, *what in m.lines() if kind == "lost" for n in what
        }
        return {number % self._partitions() for number in numbers} <= lost

    def _partitions(self) -> int:
        return len(self._bench.ends())
