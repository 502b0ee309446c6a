"""What the loops cost beside hand-written confluent-kafka code, on a real Kafka, in one run.

    python benchmarks/consume.py                      everything; about ten minutes
    python benchmarks/consume.py --quick              everything, with fewer records: two minutes
    python benchmarks/consume.py throughput latency   some of the parts
    python benchmarks/consume.py --json > report.json

The parts:

  throughput   records a second with a handler that does nothing
  latency      a lone record's way from produce() to its handler, median and 99th percentile
  concurrency  10,000 records whose async handlers take 0 to 5 ms, 100 at a time, without an
               order and by key, against a semaphore and against a chain of tasks for each key
  commits      stopped at full speed: how long that takes, what is handled and not committed
  partitions   the engine with 1,000 partitions, alone and on a topic that has them
  memory       resident memory over millions of records, and while a handler stands still
  anatomy      where each microsecond of a record goes, step by step
  tracing      the microseconds that tracing adds to a record that is sent, or handled

The hand-written equivalents are in by_hand.py. They and the loops take turns, each time with a
new group, in rounds that begin with another contender each; medians are compared. A rate's ratio
is above 1 where the loop is faster, a time's ratio below 1. Java and Maven are needed, for the
Kafka that is started. The exit status is 1 if a target is missed; on a busy machine, look twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import anatomy
import bookkeeping
import commits
import concurrency
import latency
import memory
import throughput
import tracing
from contest import Row, table
from ground import Ground

if TYPE_CHECKING:
    from collections.abc import Callable

#: Records in all, quick and not.
RECORDS = {
    "throughput": (200_000, 200_000),
    "latency": (150, 1_000),
    "commits": (500_000, 500_000),
    "partitions": (200_000, 200_000),
    "memory": (500_000, 5_000_000),
}
PARTS: dict[str, Callable[[Ground, argparse.Namespace], list[Row]]] = {
    "throughput": lambda g, o: throughput.run(g, _records("throughput", o), o.rounds),
    "latency": lambda g, o: latency.run(g, _records("latency", o), o.rounds),
    "concurrency": lambda g, o: concurrency.run(g, o.rounds),
    "commits": lambda g, o: commits.run(g, _records("commits", o)),
    "partitions": lambda g, o: bookkeeping.run(g, _records("partitions", o), o.rounds),
    "memory": lambda g, o: memory.run(g, _records("memory", o)),
    "anatomy": lambda g, _: anatomy.run(g),
    "tracing": lambda g, o: tracing.run(g, o.rounds),
}


def main() -> int:
    options = _options()
    rows: list[Row] = []
    with Ground() as ground:
        for part in options.parts:
            print(f"{part} ...", file=sys.stderr, flush=True)
            rows += PARTS[part](ground, options)
    if options.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    else:
        print(table(rows))
    return int(any(row.met is False for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them by default"
    )
    parser.add_argument("--rounds", type=int, help="turns of each contender (5; quick: 3)")
    parser.add_argument("--records", type=int, help="in place of each part's own number")
    parser.add_argument("--quick", action="store_true", help="fewer records, fewer rounds")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options.parts = options.parts or list(PARTS)
    options.rounds = options.rounds or (3 if options.quick else 5)
    return options


def _records(part: str, options: argparse.Namespace) -> int:
    quick, full = RECORDS[part]
    return int(options.records or (quick if options.quick else full))


if __name__ == "__main__":
    sys.exit(main())
