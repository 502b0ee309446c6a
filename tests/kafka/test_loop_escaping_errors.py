"""What is no failure of a record: it ends the loop, wherever it is raised, and settles nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import field_validator

from flowodm import DeserializationError, FlowBaseModel
from flowodm.events import Failed, Handled, LoopState, LoopStatus, Outcome, Rebalanced, StateChanged
from flowodm.exceptions import RecordError
from support.brokers.records import Raw
from support.loops import BOTH, KINDS, PATIENCE, Bench, number
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

#: Everything that could take a failed record: none of it may, here.
LENIENT = {"max_retries": 5, "retry_delay": 0.0, "on_failure": "skip"}
ESCAPES = pytest.mark.parametrize(
    "escape", [MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit], ids=lambda e: e.__name__
)


def raising(kind: str, at: int, escape: type[BaseException], calls: list[int]) -> Callable:
    """A handler that raises at one number, in the loop's own thread or task."""

    def handle(message: Any) -> None:
        calls.append(message.n)
        if message.n == at:
            raise escape

    async def handle_async(message: Any) -> None:
        await asyncio.sleep(0)
        handle(message)

    return handle_async if kind == "async" else handle


@ESCAPES
@pytest.mark.parametrize("kind", KINDS)
def test_an_escape_in_a_handler_is_not_the_records_fault_and_does_not_settle_it(
    new_bench, kind, escape
):
    """No retry, no error handler, no skip: neither memory nor an exit is the record's to give."""
    bench, calls, taken = new_bench(), [], []
    bench.produce(range(10))
    options = {**LENIENT, "ordering": "partition", "error_handler": lambda *_: taken.append(1)}
    running = bench.run(kind, raising(kind, 5, escape, calls), **options)
    with running, pytest.raises(escape):
        running.end(20)

    assert calls == [0, 1, 2, 3, 4, 5], "nothing behind it starts"
    assert taken == []
    assert running.events.of(Failed) == []
    assert running.events.outcomes() == {Outcome.PROCESSED: 5}
    assert running.status().state is LoopState.STOPPED
    assert bench.committed() == {0: 5}


@ESCAPES
@pytest.mark.parametrize("kind", BOTH)
def test_an_escape_in_an_error_handler_settles_nothing(new_bench, kind, escape):
    bench, calls, seen = new_bench(), [], []
    bench.produce(range(10))

    def handle_error(_error: Exception, raw: Any, _message: Any) -> None:
        calls.append(raw.offset())
        raise escape

    async def handle_error_async(*arguments: Any) -> None:
        handle_error(*arguments)

    options = {
        "ordering": "partition",
        "on_failure": "skip",
        "error_handler": handle_error_async if kind == "async" else handle_error,
    }
    running = bench.run(kind, raising(kind, 5, ValueError, seen), **options)
    with running, pytest.raises(escape):
        running.end(20)

    assert calls == [5]
    assert seen == [0, 1, 2, 3, 4, 5]
    assert bench.committed() == {0: 5}


class Validated(Bench):
    """A bench whose model runs the test's code while it decodes."""

    def __init__(self, bench: Bench, validate: Callable[[int], None]) -> None:
        super().__init__(bench.kafka, bench.topic, bench.group)

        class Checked(FlowBaseModel):
            class Settings:
                topic = bench.topic
                consumer_group = bench.group

            n: int

            @field_validator("n", mode="after")
            @classmethod
            def check(cls, value: int) -> int:
                validate(value)
                return value

        self.model = Checked


@pytest.mark.parametrize("escape", [MemoryError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("kind", BOTH)
def test_an_escape_in_decoding_is_not_a_bad_record(new_bench, kind, escape):
    def validate(value: int) -> None:
        if value == 5:
            raise escape

    bench, seen, taken = Validated(new_bench(), validate), [], []
    bench.produce(range(10))
    options = {**LENIENT, "ordering": "partition", "error_handler": lambda *_: taken.append(1)}
    running = bench.run(kind, raising(kind, -1, escape, seen), **options)
    with running, pytest.raises(escape):
        running.end(20)

    assert seen == [0, 1, 2, 3, 4]
    assert taken == []
    assert bench.committed() == {0: 5}


@pytest.mark.parametrize("error", [RuntimeError, StopIteration])
@pytest.mark.parametrize("kind", BOTH)
def test_whatever_else_decoding_raises_is_a_bad_record_of_that_offset(new_bench, kind, error):
    """A model's own validators may raise anything, and the poller goes on."""

    def validate(value: int) -> None:
        if value % 3 == 1:
            raise error("from the model")

    bench, seen, taken = Validated(new_bench(), validate), [], []
    bench.produce(range(60))
    options = {**LENIENT, "ordering": "partition", "error_handler": lambda *a: taken.append(a)}
    with bench.run(kind, raising(kind, -1, error, seen), **options) as running:
        wait_until(lambda: len(seen) + len(taken) == 60, PATIENCE, "all is settled")
        running.stop()

    assert seen == [n for n in range(60) if n % 3 != 1]
    assert [raw.offset() for _, raw, _ in taken] == list(range(1, 60, 3))
    assert {message for _, _, message in taken} == {None}
    for problem, raw, _ in taken:
        assert isinstance(problem, DeserializationError)
        assert problem.offset == raw.offset()
    assert bench.committed() == {0: 60}


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("kind", BOTH)
def test_errors_that_python_gives_a_meaning_of_their_own_are_plain_failures_in_a_handler(
    new_bench, kind, error
):
    """Generators and coroutines turn some of them into something else on the way."""
    bench, calls = new_bench(), []
    bench.produce(range(10))
    options = {"max_retries": 2, "retry_delay": 0.0, "ordering": "partition"}
    running = bench.run(kind, raising(kind, 5, error, calls), **options)
    with running, pytest.raises(RecordError) as caught:
        running.end(20)

    assert caught.value.offset == 5
    assert calls == [0, 1, 2, 3, 4, 5, 5, 5]
    assert bench.committed() == {0: 5}


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("kind", BOTH)
def test_and_so_they_are_in_an_error_handler(new_bench, kind, error):
    bench = new_bench()
    bench.produce(range(10))

    def handle_error(*_: object) -> None:
        raise error

    async def handle_error_async(*_: object) -> None:
        raise error

    options = {
        "ordering": "partition",
        "error_handler": handle_error_async if kind == "async" else handle_error,
    }
    running = bench.run(kind, raising(kind, 5, ValueError, []), **options)
    with running, pytest.raises(RecordError) as caught:
        running.end(20)

    assert caught.value.offset == 5
    assert bench.committed() == {0: 5}


def test_a_cancelled_error_in_a_sync_handler_ends_the_loop_and_settles_nothing(new_bench):
    """There is no task to cancel: it escapes like an exit."""
    bench, calls = new_bench(), []
    bench.produce(range(10))
    running = bench.run(
        "sync", raising("sync", 5, asyncio.CancelledError, calls), ordering="partition", **LENIENT
    )
    with running, pytest.raises(asyncio.CancelledError):
        running.end(20)

    assert calls == [0, 1, 2, 3, 4, 5]
    assert bench.committed() == {0: 5}


async def cancel_what_it_waits_for() -> None:
    task = asyncio.ensure_future(asyncio.sleep(3_600))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def raise_it() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("cancel", [raise_it, cancel_what_it_waits_for])
def test_a_cancelled_error_from_within_an_async_handler_is_its_failure(new_bench, cancel):
    bench, calls = new_bench(), []
    bench.produce(range(10))

    async def handle(message: Any) -> None:
        calls.append(message.n)
        if message.n == 5:
            await cancel()

    options = {"max_retries": 2, "retry_delay": 0.0, "ordering": "partition"}
    running = bench.run("async", handle, **options)
    with running, pytest.raises(RecordError) as caught:
        running.end(20)

    assert caught.value.offset == 5
    assert calls == [0, 1, 2, 3, 4, 5, 5, 5]
    assert bench.committed() == {0: 5}


@pytest.mark.parametrize(
    "hooks", [("on_startup",), ("on_shutdown",), ("on_startup", "on_shutdown")]
)
@pytest.mark.parametrize("escape", [SystemExit, asyncio.CancelledError, StopIteration])
@pytest.mark.parametrize("kind", BOTH)
def test_whatever_a_hook_raises_the_group_is_left_and_the_first_error_is_what_run_raises(
    new_bench, caplog, kind, escape, hooks
):
    bench, calls = new_bench(), []
    bench.produce(range(10))

    def hook(name: str) -> Callable[[], None]:
        def call() -> None:
            calls.append(name)
            if name in hooks:
                raise escape(f"in {name}")

        async def call_async() -> None:
            call()

        return call_async if kind == "async" else call

    options = {"on_startup": hook("on_startup"), "on_shutdown": hook("on_shutdown")}
    # A coroutine cannot raise StopIteration; Python makes it a RuntimeError.
    raised = RuntimeError if (kind, escape) == ("async", StopIteration) else escape
    running = bench.run(kind, lambda _: None, **options)
    with running:
        if hooks[0] == "on_shutdown":
            wait_until(lambda: running.status().processed == 10, PATIENCE, "all is handled")
            running.loop.stop()
        with pytest.raises(raised) as caught:
            running.end(20)

    first = caught.value.__cause__ if raised is RuntimeError else caught.value
    if escape is not asyncio.CancelledError or kind == "sync":  # a task's own loses its text
        assert str(first) == f"in {hooks[0]}"
    assert calls == ["on_startup", "on_shutdown"]
    assert running.status().state is LoopState.STOPPED
    if len(hooks) == 2:
        assert "after the first error" in caplog.text, "the second one is not lost"
    handled = {0: 10} if hooks[0] == "on_shutdown" else {}
    assert bench.committed() == handled


KINDS_OF_EVENTS = [StateChanged, Rebalanced, Handled, Failed, LoopStatus]


@pytest.mark.parametrize("escape", [MemoryError, SystemExit])
@pytest.mark.parametrize("kind", BOTH)
def test_an_observer_that_always_fails_changes_nothing_and_the_next_one_is_told(
    new_bench, kind, escape
):
    bench, seen = new_bench(), []
    bench.produce(range(100))

    def fail(_event: object) -> None:
        raise escape

    def handle(message: Any) -> None:
        if message.n == 7 and 7 not in seen:
            seen.append(7)
            raise ValueError
        seen.append(message.n)

    later: list[object] = []
    options = {"max_retries": 1, "retry_delay": 0.0, "observers": [fail, later.append]}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: running.status().processed == 100, PATIENCE, "all is handled")
        running.stop()

    assert {type(event) for event in later} >= set(KINDS_OF_EVENTS)
    assert bench.committed() == {0: 100}


@pytest.mark.parametrize("event_kind", KINDS_OF_EVENTS)
@pytest.mark.parametrize("kind", BOTH)
def test_an_observer_that_interrupts_at_any_event_ends_the_loop_and_loses_nothing(
    new_bench, kind, event_kind
):
    """Ctrl-C may arrive in an observer too, on whatever thread that one is called."""
    bench, seen, again = new_bench(), [], []
    bench.produce(range(100))
    interrupted: list[object] = []

    def interrupt(event: object) -> None:
        wanted = not isinstance(event, StateChanged) or event.state is LoopState.RUNNING
        if isinstance(event, event_kind) and wanted and not interrupted:
            interrupted.append(event)
            raise KeyboardInterrupt

    def handle(message: Any) -> None:
        if message.n == 50 and 50 not in seen:
            seen.append(50)
            raise ValueError
        seen.append(message.n)

    options = {"max_retries": 1, "retry_delay": 0.0, "ordering": "partition"}
    running = bench.run(kind, handle, observers=[interrupt], **options)
    with running, pytest.raises(KeyboardInterrupt):
        running.end(20)
    committed = bench.committed().get(0, 0)
    assert set(range(committed)) <= set(seen), "what is committed was handled"

    with bench.run(kind, lambda m: again.append(m.n), ordering="partition") as second:
        wait_until(lambda: bench.committed() == {0: 100}, PATIENCE, "the rest is handled")
        second.stop()
    assert again == list(range(committed, 100))


@pytest.mark.parametrize("kind", BOTH)
def test_a_flood_of_bad_records_does_not_stop_the_polling_of_the_good_ones(new_bench, kind):
    """Two thousand in a row, and in another partition everything is well."""
    bench, seen, taken = new_bench(partitions=2), [], []
    bench.produce_raw(*(Raw(b"\xff", None, 0) for _ in range(2_000)))
    bench.produce(range(100), partition=lambda _: 1)
    bench.produce_raw(Raw(number(100), None, 0))
    options = {"error_handler": lambda _error, raw, _message: taken.append(raw.offset())}
    with bench.run(kind, lambda m: seen.append(m.n), ordering="partition", **options) as running:
        wait_until(lambda: len(seen) == 101, PATIENCE, "the good ones are handled")
        running.stop()

    assert taken == list(range(2_000))
    assert sorted(seen) == list(range(101))
    assert bench.committed() == {0: 2_001, 1: 100}
