"""The table of workers that `status` and the demo show on a terminal. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

UNKNOWN = "-"
"""Text of a cell whose value is not known, or that has none."""
_STYLES = {"processing": "green", "assigned": "green", "failed": "red", "backing_off": "red"}
"""Style of a row, by the worker's state."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One slot of a /status."""

    consumer: str
    slot: int
    state: str
    pid: int | None
    partitions: tuple[int, ...]
    in_flight: int
    processed: int
    records_per_second: float
    lag: int | None
    restarts: int

    @property
    def name(self) -> str:
        """The worker's name in the log, such as "orders/0"."""
        return f"{self.consumer}/{self.slot}"

    @property
    def partition_list(self) -> str:
        """The partition numbers with commas between them; "" for none."""
        return ",".join(map(str, self.partitions))


_CELLS: dict[str, Callable[[Worker], str]] = {
    "worker": lambda worker: worker.name,
    "state": lambda worker: worker.state,
    "pid": lambda worker: _number(worker.pid),
    "partitions": lambda worker: worker.partition_list or UNKNOWN,
    "in flight": lambda worker: str(worker.in_flight),
    "records/s": lambda worker: f"{worker.records_per_second:.0f}",
    "lag": lambda worker: _number(worker.lag),
    "processed": lambda worker: str(worker.processed),
    "restarts": lambda worker: str(worker.restarts),
}
"""Every column by its heading, and the text of its cell."""
_TEXT_COLUMNS = {"worker", "state", "partitions"}
"""The columns that are aligned to the left; the others hold numbers."""
_WRAPPED_COLUMNS = {"partitions", "in flight"}
"""The columns that take several lines where the terminal is too narrow."""


def workers_of(status: Mapping[str, Any]) -> tuple[Worker, ...]:
    """Return every worker of a /status, in its order."""
    return tuple(
        _worker(name, slot)
        for name, consumer in status["consumers"].items()
        for slot in consumer["slots"]
    )


def _worker(consumer: str, slot: Mapping[str, Any]) -> Worker:
    return Worker(
        consumer=consumer,
        slot=slot["slot"],
        state=slot["state"],
        pid=slot["pid"],
        partitions=tuple(sorted(number for _topic, number in slot["partitions"])),
        in_flight=slot["in_flight"],
        processed=slot["processed"],
        records_per_second=slot["records_per_second"],
        lag=slot["lag"],
        restarts=slot["restarts"],
    )


def worker_table(workers: Iterable[Worker], columns: Iterable[str], title: str = "") -> Table:
    """Make a table with a row for each worker.

    Args:
        workers: The rows.
        columns: Headings of the columns, from left to right: see `_CELLS`.
        title: Text above the table; "" for none.
    """
    columns = tuple(columns)
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in _TEXT_COLUMNS else "right",
            no_wrap=column not in _WRAPPED_COLUMNS,
            min_width=len("partitions") if column == "partitions" else None,
            overflow="fold",
        )
    for worker in workers:
        cells = [_CELLS[column](worker) for column in columns]
        table.add_row(*cells, style=_STYLES.get(worker.state, ""))
    return table


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)
