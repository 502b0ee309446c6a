"""One table of workers for `status` and for the demo."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from supervisor.cli.control import COLUMNS as STATUS_COLUMNS
from supervisor.demo.view import COLUMNS as DEMO_COLUMNS
from supervisor.instrumentation.status_table import Worker, worker_table, workers_of

STATUS = {
    "consumers": {
        "packing": {
            "slots": [
                {
                    "slot": 0,
                    "state": "processing",
                    "pid": 4711,
                    "partitions": [["demo-orders", 1], ["demo-orders", 0]],
                    "in_flight": 2,
                    "processed": 40,
                    "records_per_second": 99.6,
                    "lag": 3,
                    "restarts": 1,
                },
                {
                    "slot": 1,
                    "state": "backing_off",
                    "pid": None,
                    "partitions": [],
                    "in_flight": 0,
                    "processed": 0,
                    "records_per_second": 0.0,
                    "lag": None,
                    "restarts": 2,
                },
            ]
        }
    }
}
BUSY = Worker("packing", 0, "processing", 4711, (0, 1), 2, 40, 99.6, 3, 1)
DOWN = Worker("packing", 1, "backing_off", None, (), 0, 0, 0.0, None, 2)


def shown(workers, columns, *, width):
    console = Console(file=StringIO(), width=width)
    console.print(worker_table(workers, columns))
    return console.file.getvalue()


def test_workers_are_read_from_the_status():
    assert workers_of(STATUS) == (BUSY, DOWN)


@pytest.mark.parametrize("columns", [STATUS_COLUMNS, DEMO_COLUMNS])
def test_a_row_has_the_cells_of_its_columns_in_their_order(columns):
    cells = {
        "worker": "packing/0",
        "state": "processing",
        "pid": "4711",
        "partitions": "0,1",
        "in flight": "2",
        "records/s": "100",
        "lag": "3",
        "processed": "40",
        "restarts": "1",
    }
    _top, head, _line, row, _bottom = shown([BUSY], columns, width=200).splitlines()
    assert [cell.strip() for cell in head.strip("┃").split("┃")] == list(columns)
    expected = [cells[column] for column in columns]
    assert [cell.strip() for cell in row.strip("│").split("│")] == expected


def test_what_is_not_known_is_a_dash():
    row = shown([DOWN], DEMO_COLUMNS, width=200).splitlines()[3]
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        *("packing/1", "backing_off", "-", "-", "0", "-", "2"),
    ]


@pytest.mark.parametrize("columns", [STATUS_COLUMNS, DEMO_COLUMNS])
def test_a_long_list_of_partitions_goes_on_in_the_next_line(columns):
    many = Worker("a", 0, "assigned", 1, tuple(range(40)), 0, 0, 0.0, 0, 0)
    at = columns.index("partitions")
    rows = shown([many], columns, width=80).splitlines()[3:]
    cells = [line.split("│")[at + 1].strip() for line in rows if line.startswith("│")]
    assert "".join(cells) == ",".join(map(str, range(40)))
