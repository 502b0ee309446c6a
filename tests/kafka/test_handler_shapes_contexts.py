"""Handlers of (message, context), and the context variables that each record has to itself."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowodm import AsyncConsumerLoop, ConsumerLoop, MessageContext
from support.brokers.records import Raw
from support.loops import BOTH, KINDS, PATIENCE, POISON, Gate, brisk, number
from support.shapes import handler_for
from support.waiting import wait_until

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize(
    ("kind", "strategy"), [("sync", "after_processing"), ("async", "before_processing")]
)
def test_a_context_tells_everything_that_kafka_says_of_the_record(new_bench, kind, strategy):
    bench, seen = new_bench(partitions=3), []
    headers = (("trace", b"1"), ("empty", None), ("trace", b"2"))
    before = datetime.now(UTC)
    bench.produce_raw(
        Raw(number(7), b"the key", 2, headers), Raw(number(8), None, 2), Raw(number(9), b"", 1)
    )
    after = datetime.now(UTC)

    def handle(message: Any, context: MessageContext) -> None:
        seen.append((message.n, context))

    with bench.run(kind, handler_for(kind, handle), commit_strategy=strategy) as running:
        wait_until(lambda: len(seen) == 3, PATIENCE, "all is handled")
        running.stop()

    contexts = dict(seen)
    seven, eight, nine = contexts[7], contexts[8], contexts[9]
    assert {type(context) for context in contexts.values()} == {MessageContext}
    assert (seven.topic, seven.partition, seven.offset) == (bench.topic, 2, 0)
    assert (eight.partition, eight.offset, nine.partition, nine.offset) == (2, 1, 1, 0)
    assert (seven.key, eight.key, nine.key) == (b"the key", None, b"")
    assert seven.headers == headers
    assert (seven.header("trace"), seven.header("empty"), seven.header("no")) == (b"2", None, None)
    assert (eight.headers, eight.header("trace")) == ((), None)
    assert before - timedelta(seconds=1) < seven.timestamp < after + timedelta(seconds=1)
    assert seven.timestamp.tzinfo is UTC
    assert seven.schema_id is None, "bare Avro"
    assert seven.attempt == 1
    assert seven.raw.value() == number(7)
    assert b"the key".decode() not in repr(seven)


@pytest.mark.parametrize("kind", BOTH)
def test_attempts_count_up_for_the_record_that_fails_and_for_no_other(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce(range(4))

    def handle(message: Any, context: MessageContext) -> None:
        seen.append((message.n, context.attempt))
        if message.n in {1, 2} and context.attempt <= message.n:
            raise ValueError("not yet")

    options = {"max_retries": 3, "retry_delay": 0.0, "ordering": "partition"}
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(lambda: running.status().processed == 4, PATIENCE, "all is handled")
        running.stop()

    assert seen == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_context_says_that_the_loop_is_stopping_so_that_a_long_handler_can_end(new_bench, kind):
    bench, told = new_bench(), []
    bench.produce(range(1))
    with Gate() as gate:

        def handle(_message: Any, context: MessageContext) -> None:
            told.append(context.stopping)
            gate.wait()
            told.append(context.stopping)

        async def handle_async(message: Any, context: MessageContext) -> None:
            await asyncio.to_thread(handle, message, context)

        with bench.run(kind, handle_async if kind == "async" else handle) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "it runs")
            running.loop.stop()
            gate.open()
            running.end()
    assert told == [False, True]


class Method:
    """Handlers that are no plain functions."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def handle(self, message: Any, context: MessageContext) -> None:
        self.seen.append((message.n, context.offset))

    def __call__(self, message: Any, context: MessageContext) -> None:
        self.handle(message, context)


def optional(seen: list[Any], message: Any, context: MessageContext | None = None) -> None:
    seen.append((message.n, None if context is None else context.offset))


def not_a_context(seen: list[Any], message: Any, table: str = "orders") -> None:
    seen.append((message.n, table))


@pytest.mark.parametrize(
    ("shape", "second"),
    [
        ("method", 0),
        ("object", 0),
        ("lambda", 0),
        ("partial with optional", 0),
        ("another default", "orders"),
        ("any arguments", "none"),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
def test_whoever_takes_a_context_gets_it_and_nobody_else(new_bench, kind, shape, second):
    bench, seen = new_bench(), []
    bench.produce(range(1))
    handlers = {
        "method": Method(seen).handle,
        "object": Method(seen),
        "lambda": lambda m, c: seen.append((m.n, c.offset)),
        "partial with optional": functools.partial(optional, seen),
        "another default": functools.partial(not_a_context, seen),
        "any arguments": lambda *a: seen.append((a[0].n, "none" if len(a) == 1 else a[1].offset)),
    }
    # An async loop takes plain functions, too; the bench would hide their shape.
    make = AsyncConsumerLoop if kind == "async" else ConsumerLoop
    running = bench.run(kind, lambda _: None)
    running.loop = make(bench.model, handlers[shape], settings=brisk())
    with running:
        wait_until(lambda: seen, PATIENCE, "it is handled")
        running.stop()
    assert seen == [(0, second)]


# ---- context variables -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["handler", "batch", "error_handler", "tombstone_handler"])
@pytest.mark.parametrize("kind", BOTH)
def test_what_one_records_call_sets_the_next_one_does_not_see(new_bench, kind, what):
    """A trace id or a tenant of another record would be a leak."""
    bench, seen = new_bench(), []

    def note(_first: Any, *_others: Any) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("of another record")

    call = handler_for(kind, note)
    options: dict[str, Any] = {"max_concurrent": 1, "ordering": "partition"}
    handler = call if what in {"handler", "batch"} else handler_for(kind, lambda _: None)
    if what == "batch":
        options |= {"batch_size": 1}
    elif what == "error_handler":
        options["error_handler"] = call
    elif what == "tombstone_handler":
        options["tombstone_handler"] = note
    value = {"error_handler": POISON, "tombstone_handler": None}.get(what, number(1))
    bench.produce_raw(*(Raw(value, b"k", 0) for _ in range(10)))
    with bench.run(kind, handler, **options) as running:
        wait_until(lambda: len(seen) == 10, PATIENCE, "all is handled")
        running.stop()

    assert seen == ["unset"] * 10


@pytest.mark.parametrize("kind", BOTH)
def test_each_attempt_at_a_record_starts_anew(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce(range(1))

    def handle(_message: Any) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("of the attempt before")
        if len(seen) < 3:
            raise ValueError("not yet")

    options = {"max_retries": 3, "retry_delay": 0.0}
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(lambda: running.status().processed == 1, PATIENCE, "it is handled")
        running.stop()
    assert seen == ["unset"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_on_startup_sets_every_later_call_sees(new_bench, kind):
    """Handlers, error handlers, tombstone handlers and on_shutdown; a pool, for example."""
    bench, seen = new_bench(), {}
    bench.produce_raw(Raw(number(1), b"a", 0), Raw(POISON, b"b", 0), Raw(None, b"c", 0))

    def note(name: str) -> Any:
        return handler_for(kind, lambda *_: seen.setdefault(name, VARIABLE.get()))

    def handle(_message: Any) -> None:
        seen.setdefault("handler", VARIABLE.get())

    options = {
        "on_startup": handler_for(kind, lambda: VARIABLE.set("from on_startup") and None),
        "on_shutdown": note("on_shutdown"),
        "error_handler": note("error_handler"),
        "tombstone_handler": lambda _context: seen.setdefault("tombstone", VARIABLE.get()),
    }
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(lambda: len(seen) == 3, PATIENCE, "all is settled")
        running.stop()

    names = ("handler", "error_handler", "tombstone", "on_shutdown")
    assert seen == dict.fromkeys(names, "from on_startup")


@pytest.mark.parametrize("kind", BOTH)
def test_a_second_run_does_not_see_what_the_first_ones_handlers_set(new_bench, kind):
    bench, seen = new_bench(), []

    def handle(_message: Any) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("of the first run")

    running = bench.run(kind, handler_for(kind, handle))
    for count in (1, 2):
        again = bench.run(kind, handler_for(kind, handle))
        again.loop = running.loop
        bench.produce([count])
        with again:
            wait_until(lambda count=count: len(seen) == count, PATIENCE, "it is handled")
            again.stop()
    assert seen == ["unset", "unset"]


def test_handlers_that_wait_side_by_side_keep_their_own_values_across_every_await(new_bench):
    bench, seen, most = new_bench(), [], []
    bench.produce(range(50))

    async def handle(message: Any) -> None:
        token = VARIABLE.set(str(message.n))
        try:
            most.append(len([t for t in asyncio.all_tasks() if not t.done()]))
            for _ in range(5):
                await asyncio.sleep(0.001)
                assert VARIABLE.get() == str(message.n)
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                child = group.create_task(in_a_task())
            seen.append((message.n, child.result(), await asyncio.to_thread(VARIABLE.get)))
        finally:
            VARIABLE.reset(token)  # in another context this raises

    async def in_a_task() -> str:
        await asyncio.sleep(0)
        return VARIABLE.get()

    with bench.run("async", handle, max_concurrent=10, ordering="unordered") as running:
        wait_until(lambda: len(seen) == 50, PATIENCE, "all is handled")
        running.stop()

    assert sorted(seen) == [(n, str(n), str(n)) for n in range(50)]
    assert max(most) > 10
