"""User code that does what it should not: nothing is lost, and the loop says what is wrong."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from flowodm import (
    AsyncConsumerLoop,
    ConfigurationError,
    ConsumerError,
    ConsumerLoop,
    FlowBaseModel,
    RecordError,
    connect,
)
from support.brokers.records import committed_offsets

RECORDS = 20


@pytest.fixture
def model(kafka, new_topic, group):
    connect(bootstrap_servers=kafka)
    name = new_topic(partitions=1)

    class Item(FlowBaseModel):
        class Settings:
            topic = name
            consumer_group = group

        number: int

    Item.produce_many([Item(number=n) for n in range(RECORDS)])
    return Item


def committed(kafka, model) -> int:
    settings = model.Settings
    return committed_offsets(kafka, settings.consumer_group, settings.topic).get(0, 0)


def run_in_thread(loop) -> list[BaseException]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loop.run()
        except BaseException as error:  # noqa: BLE001 - that is what is looked at
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "run() does not return"
    return raised


def hidden(*arguments: object):
    """Looks like a plain function, and returns a coroutine."""
    return store(*arguments)


async def store(*_: object) -> None:
    """Would keep the record, if anybody awaited it."""


def test_a_sync_handler_that_returns_a_coroutine_has_handled_nothing(kafka, model):
    loop = ConsumerLoop(model, hidden, commit_strategy="after_processing")

    (error,) = run_in_thread(loop)

    assert isinstance(error, RecordError)
    assert "only AsyncConsumerLoop awaits" in str(error)
    assert committed(kafka, model) == 0


def test_a_sync_error_handler_that_returns_a_coroutine_has_taken_nothing_over(kafka, model):
    def fail(message):
        raise ValueError("no")

    loop = ConsumerLoop(
        model,
        fail,
        error_handler=hidden,
        commit_strategy="after_processing",
    )

    (error,) = run_in_thread(loop)

    assert isinstance(error, RecordError)
    assert committed(kafka, model) == 0


async def test_a_handlers_task_that_is_cancelled_by_the_users_code_ends_the_loop(kafka, model):
    async def handle(message):
        if message.number == 7:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    loop = AsyncConsumerLoop(
        model, handle, commit_strategy="after_processing", ordering="partition"
    )

    with pytest.raises(ConsumerError, match="cancelled from outside"):
        await asyncio.wait_for(loop.run(), 30)

    assert committed(kafka, model) == 7


def test_an_observer_that_exits_does_not_take_the_poller_along(kafka, model):
    handled: list[int] = []

    def leave(event):
        raise SystemExit(3)

    def handle(message):
        handled.append(message.number)
        if len(handled) == RECORDS:
            loop.stop()

    loop = ConsumerLoop(model, handle, commit_strategy="after_processing", observers=[leave])

    assert run_in_thread(loop) == []
    assert committed(kafka, model) == RECORDS


def test_an_error_whose_text_cannot_be_shown_is_still_the_records_error(model):
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("mute")

    def fail(message):
        raise MuteError

    (error,) = run_in_thread(ConsumerLoop(model, fail, commit_strategy="after_processing"))

    assert isinstance(error, RecordError)
    assert "MuteError: (its text cannot be shown: RuntimeError)" in str(error)


def test_an_endless_error_text_is_cut(model, caplog):
    def fail(message):
        raise ValueError("x" * 1_000_000)

    (error,) = run_in_thread(ConsumerLoop(model, fail, commit_strategy="after_processing"))

    assert len(str(error)) < 5_000
    assert len(caplog.text) < 50_000


async def test_a_stop_does_not_wait_for_threads_that_hung_handlers_hold(model):
    release = threading.Event()
    started = asyncio.Event()

    async def handle(message):
        started.set()
        await asyncio.to_thread(release.wait)

    loop = AsyncConsumerLoop(
        model, handle, max_concurrent=50, ordering="unordered", drain_timeout=0.5
    )
    running = asyncio.create_task(loop.run())
    try:
        await asyncio.wait_for(started.wait(), 30)
        begun = time.monotonic()
        loop.stop()
        await asyncio.wait_for(running, 20)
        assert time.monotonic() - begun < 10
    finally:
        release.set()


def test_a_property_that_librdkafka_refuses_is_a_configuration_error(model):
    loop = ConsumerLoop(model, print, consumer_config={"sesion.timeout.ms": 6000})

    (error,) = run_in_thread(loop)

    assert isinstance(error, ConfigurationError)
    assert "sesion.timeout.ms" in str(error)
