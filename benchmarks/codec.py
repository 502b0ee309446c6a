"""What the codec costs beside fastavro and Pydantic called by hand, as ratios of one run.

Run ``python benchmarks/codec.py``; the exit status is 1 if a ratio is below its floor. A ratio
above 1 means that the codec is the faster one. All contenders take turns, so that a busy
machine slows each of them alike, and the best time of each counts. Below them stands where the
time of decoding goes, and what the first record of a class pays.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
from pydantic import BaseModel, ConfigDict

from flowodm.avro import wire
from flowodm.avro.codec import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 60
CALLS = 2_000
SET_UPS = 20
# The aims are 0.95 and 0.9; these are what a change should not fall behind.
DECODE_FLOOR = 1.2
ENCODE_FLOOR = 1.0


class Order(BaseModel):
    """Six fields, one of them a timestamp."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    order_id: str
    customer: str
    amount: float
    quantity: int
    paid: bool
    at: datetime


class Registry:
    """Knows the one schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def schema(self, _schema_id: int) -> Any:
        return self._schema

    def register(self, _subject: str, _schema: Any, _schema_type: str = "AVRO") -> int:
        return 1


def contenders() -> dict[str, Callable[[], Any]]:
    bare: Codec[Order] = Codec(Order, subject="orders-value")
    framed: Codec[Order] = Codec(Order, subject="orders-value", registry=Registry(bare.schema))  # type: ignore[arg-type]
    framed.load_schema(1)
    first, *others = bare.schema["fields"]
    older_schema = {**bare.schema, "fields": [*others, first]}
    older: Codec[Order] = Codec(Order, subject="orders-value", registry=Registry(older_schema))  # type: ignore[arg-type]
    older.load_schema(1)

    order = Order(
        order_id="o-1",
        customer="c-2022",
        amount=12.5,
        quantity=3,
        paid=True,
        at=datetime(2025, 1, 2, 3, 4, 5, 678, UTC),
    )
    schema: Any = fastavro.parse_schema(bare.schema)
    older_parsed: Any = fastavro.parse_schema(older_schema)
    data = bare.encode(order)
    framed_data = framed.encode(order)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, older_parsed, order.model_dump())
    older_data = wire.header(1) + stream.getvalue()

    def write_by_hand() -> bytes:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, schema, order.model_dump())
        return stream.getvalue()

    reader = fastavro.schemaless_reader
    validate = Order.model_validate
    values: Any = reader(BytesIO(data), schema, None)
    return {
        "decode by hand": lambda: validate(reader(BytesIO(data), schema, None)),
        "decode bare": lambda: bare.decode(data),
        "decode framed": lambda: framed.decode(framed_data),
        "decode older by hand": lambda: validate(
            reader(BytesIO(older_data[5:]), older_parsed, schema)
        ),
        "decode older": lambda: older.decode(older_data),
        "encode by hand": write_by_hand,
        "encode bare": lambda: bare.encode(order),
        "encode framed": lambda: framed.encode(order),
        "of which fastavro": lambda: reader(BytesIO(data), schema, None),
        "of which Pydantic": lambda: validate(values),
    }


def best_microseconds(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                call()
            best[name] = min(best[name], (time.perf_counter() - started) / CALLS * 1e6)
    return best


def set_up_microseconds() -> float:
    best = float("inf")
    for _ in range(SET_UPS):
        started = time.perf_counter()
        Codec(Order, subject="orders-value")
        best = min(best, (time.perf_counter() - started) * 1e6)
    return best


def main() -> int:
    best = best_microseconds(contenders())
    low = False
    for name, microseconds in best.items():
        if name.startswith("of which"):
            print(f"{name:22} {microseconds:6.2f} µs   when decoding by hand")
            continue
        group = "decode older" if name.startswith("decode older") else name.split()[0]
        ratio = best[f"{group} by hand"] / microseconds
        floor = DECODE_FLOOR if name.startswith("decode") else ENCODE_FLOOR
        low = low or ("by hand" not in name and ratio < floor)
        print(f"{name:22} {microseconds:6.2f} µs   ratio {ratio:.2f}")
    print(f"{'a class is set up':22} {set_up_microseconds():6.0f} µs   once, by its first record")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
