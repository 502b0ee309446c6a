"""run_loop runs a loop over given records, without a broker, and returns the result."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime

import pytest

from flowodm import (
    AsyncConsumerLoop,
    BatchError,
    ConfigurationError,
    ConsumerLoop,
    FlowBaseModel,
    RealTimeSettings,
    RecordError,
    connect,
    consumer_loop,
    get_kafka_connection,
    list_dead_letters,
    replay_dead_letters,
)
from flowodm.events import Handled, Outcome
from flowodm.exceptions import DeserializationError, ProducerError, SettingsError
from flowodm.testing import InMemoryKafka, Record, arun_loop, poison, run_loop, tombstone

PROCESSED, DEAD_LETTERED, TOMBSTONE = Outcome.PROCESSED, Outcome.DEAD_LETTERED, Outcome.TOMBSTONE
BOTH = ["sync", "async"]


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shipping"
        key_field = "customer"

    number: int
    customer: str = "c1"


class Shipped(FlowBaseModel):
    class Settings:
        topic = "shipped"

    number: int


def orders(*numbers):
    return [Order(number=number) for number in numbers]


def nothing(order: Order) -> None:
    pass


def refuse_negative(order: Order) -> None:
    if order.number < 0:
        raise ValueError("negative")


def make(kind, handler, **options):
    """A loop of either class; the handler is a plain function."""
    options.setdefault("commit_strategy", "after_processing")
    if kind == "sync":
        return ConsumerLoop(Order, handler, **options)

    async def handle(*arguments):
        await asyncio.sleep(0)
        return handler(*arguments)

    return AsyncConsumerLoop(Order, handle, ordering="partition", **options)


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("kind", BOTH)
def test_what_was_handled_comes_back_in_its_order_and_is_committed(kind, strategy):
    records = orders(*range(50))

    result = run_loop(make(kind, nothing, commit_strategy=strategy), records)

    assert result.handled == records
    assert result.outcomes == [PROCESSED] * 50
    assert result.committed == {0: 50}
    assert result.retried == result.failures == []
    assert result.dead_letters == result.produced == ()


@pytest.mark.parametrize("kind", BOTH)
def test_a_failing_record_is_retried_without_the_wait_and_then_a_dead_letter(kind):
    loop = make(
        kind, refuse_negative, max_retries=2, retry_delay=3600.0, dead_letter_topic="orders.DLT"
    )

    result = run_loop(loop, orders(1, -1, 2))

    assert [order.number for order in result.handled] == [1, 2]
    assert [attempt.number for attempt in result.fates[1].attempts] == [1, 2, 3]
    assert [str(error) for error in result.fates[1].errors] == ["negative"] * 3
    assert result.retried == orders(-1, -1)
    assert result.outcomes == [PROCESSED, DEAD_LETTERED, PROCESSED]
    assert [f.consequence for f in result.failures] == ["retry", "retry", "dead_letter"]
    (letter,) = result.dead_letters
    assert (letter.original_topic, letter.original_offset) == ("orders", 1)
    assert (letter.exception_class, letter.key) == ("ValueError", b"c1")
    assert result.committed == {0: 3}
    assert result.produced == ()


def test_delays_are_waited_for_where_that_is_asked_for():
    loop = make("sync", refuse_negative, max_retries=1, retry_delay=0.3, on_failure="skip")
    began = datetime.now(UTC)

    run_loop(loop, orders(-1), real_delays=True)

    assert (datetime.now(UTC) - began).total_seconds() >= 0.3


def test_delays_that_are_not_waited_for_are_told():
    delays = {"retry_delay": 2.0, "retry_backoff": 3.0, "retry_max_delay": 10.0}
    loop = make("sync", refuse_negative, max_retries=3, on_failure="skip", **delays)

    result = run_loop(loop, orders(-1))

    assert [failure.delay for failure in result.failures] == [2.0, 6.0, 10.0, None]


@pytest.mark.parametrize("kind", BOTH)
def test_every_way_to_settle_a_record_has_its_outcome(kind):
    taken = []
    loop = make(
        kind,
        refuse_negative,
        error_handler=lambda error, raw, message: taken.append((type(error), message)),
        header_filter=lambda headers: "skip" not in headers,
    )

    result = run_loop(
        loop,
        [
            *orders(1, -1),
            poison(key="k"),
            tombstone("gone"),
            Record(Order(number=2), headers=(("skip", b""),)),
        ],
    )

    error_handled = Outcome.ERROR_HANDLED
    expected = [PROCESSED, error_handled, error_handled, TOMBSTONE, Outcome.FILTERED]
    assert result.outcomes == expected
    assert taken == [(ValueError, Order(number=-1)), (DeserializationError, None)]
    assert result.committed == {0: 5}
    counted = [event.outcomes for event in result.events if isinstance(event, Handled)]
    totals = {outcome: sum(c.get(outcome, 0) for c in counted) for outcome in set(expected)}
    assert totals == {outcome: expected.count(outcome) for outcome in set(expected)}


def test_a_skipped_record_is_skipped():
    result = run_loop(make("sync", refuse_negative, on_failure="skip"), orders(-1, 1))

    assert result.outcomes == [Outcome.SKIPPED, PROCESSED]


@pytest.mark.parametrize("kind", BOTH)
def test_a_loop_that_stops_on_a_failure_settles_nothing_from_there_on(kind):
    result = run_loop(make(kind, refuse_negative), orders(1, -1, 2), raises=RecordError)

    assert isinstance(result.error, RecordError)
    assert result.outcomes == [PROCESSED, None, None]
    assert result.committed == {0: 1}


def test_an_error_that_nobody_expects_is_raised():
    with pytest.raises(RecordError, match="negative"):
        run_loop(make("sync", refuse_negative), orders(-1))


def test_an_error_that_is_expected_and_does_not_come_is_a_failure_of_the_test():
    with pytest.raises(AssertionError, match="raised nothing"):
        run_loop(make("sync", nothing), orders(1), raises=RecordError)


def test_the_handler_runs_in_the_thread_of_the_test():
    threads = set()
    run_loop(make("sync", lambda order: threads.add(threading.get_ident())), orders(1))

    assert threads == {threading.get_ident()}


async def test_within_an_event_loop_the_loop_runs_on_it():
    loops = set()

    async def handle(order: Order) -> None:
        loops.add(asyncio.get_running_loop())

    loop = AsyncConsumerLoop(Order, handle, commit_strategy="after_processing")
    result = await arun_loop(loop, orders(1, 2))

    assert loops == {asyncio.get_running_loop()}
    assert result.outcomes == [PROCESSED] * 2
    with pytest.raises(RuntimeError, match="await arun_loop"):
        run_loop(loop, orders(1))
    assert (await arun_loop(make("sync", nothing), orders(3))).handled == orders(3)


def test_a_decorated_handler_and_its_context_are_driven_too():
    seen = []

    @consumer_loop(Order, commit_strategy="after_processing")
    def handle(order, context):
        seen.append((order.number, context.key, context.header("trace"), context.timestamp))

    when = datetime(2026, 1, 1, tzinfo=UTC)
    stamp = int(when.timestamp() * 1000)
    run_loop(handle, [Record(Order(number=7), headers=(("trace", b"t"),), timestamp=stamp)])

    assert seen == [(7, b"c1", b"t", when)]
    assert handle.handler.__name__ == "handle", "the loop is as it was"


@pytest.mark.parametrize("kind", BOTH)
def test_batches_come_as_batches_and_each_record_keeps_its_own_fate(kind):
    sizes = []

    def handle(batch):
        sizes.append(len(batch))
        for index, order in enumerate(batch):
            if order.number < 0:
                raise BatchError(index) from ValueError("negative")

    loop = make(kind, handle, batch_size=4, on_failure="skip")
    result = run_loop(loop, orders(1, 2, -3, 4, 5))

    assert sizes[0] == 4
    assert [order.number for order in result.handled] == [1, 2, 4, 5]
    assert result.outcomes == [PROCESSED, PROCESSED, Outcome.SKIPPED, PROCESSED, PROCESSED]


@pytest.mark.parametrize("kind", BOTH)
def test_a_tombstone_handlers_call_is_an_attempt(kind):
    keys = []
    loop = make(kind, nothing, tombstone_handler=lambda context: keys.append(context.key))

    result = run_loop(loop, [tombstone("a")])

    assert keys == [b"a"]
    assert result.outcomes == [PROCESSED]
    assert result.handled == [None]


def test_what_handlers_produce_comes_back_and_nothing_of_it_leaves_the_process():
    def ship(order: Order) -> None:
        Shipped(number=order.number).produce()

    result = run_loop(make("sync", ship), orders(1, 2))

    assert [message.topic() for message in result.produced] == ["shipped", "shipped"]
    assert [message.offset() for message in result.produced] == [0, 1]


def test_records_of_several_partitions_keep_the_order_of_each():
    records = [Record(Order(number=n), partition=n % 3) for n in range(30)]

    result = run_loop(make("sync", nothing), records, partitions=3)

    assert result.committed == {0: 10, 1: 10, 2: 10}
    for number in range(3):
        ours = [a.message.number for a in result.attempts if a.partition == number]
        assert ours == list(range(number, 30, 3))


def test_pinned_partitions_get_the_records():
    result = run_loop(make("sync", nothing, partitions=[2]), orders(1, 2))

    assert result.committed == {2: 2}


def test_where_a_group_begins_is_seen_with_records_that_were_there_before():
    first = make("sync", nothing, start_from=2)
    assert [o.number for o in run_loop(first, existing=orders(0, 1, 2, 3)).handled] == [2, 3]

    latest = make("sync", nothing, settings=RealTimeSettings())
    assert run_loop(latest, orders(2), existing=orders(0, 1)).handled == orders(2)


def test_a_second_run_on_the_same_kafka_goes_on_where_the_first_ended():
    loop = make("sync", refuse_negative)
    with InMemoryKafka() as kafka:
        run_loop(loop, orders(1, -1), kafka=kafka, raises=RecordError)
        result = run_loop(make("sync", nothing), orders(2), kafka=kafka)
        assert result.handled == orders(-1, 2)
        assert run_loop(make("sync", nothing), kafka=kafka).handled == []
        assert kafka.committed("shipping", "orders") == {0: 3}


def test_one_loop_can_feed_another():
    class Notice(Shipped):
        class Settings:
            consumer_group = "notices"

    with InMemoryKafka() as kafka:
        run_loop(make("sync", lambda o: Notice(number=o.number).produce()), orders(5), kafka=kafka)
        result = run_loop(ConsumerLoop(Notice, nothing), kafka=kafka)
    assert result.handled == [Notice(number=5)]


def test_hooks_run_and_a_handler_may_stop_its_loop():
    events = []

    def handle(order):
        events.append("handled")
        loop.stop()

    hooks = {
        "on_startup": lambda: events.append("up"),
        "on_shutdown": lambda: events.append("down"),
    }
    loop = make("sync", handle, **hooks)
    result = run_loop(loop, orders(*range(2_000)))

    assert events[:2] == ["up", "handled"]
    assert events[-1] == "down"
    assert events.count("handled") == len(result.handled) == result.committed[0]


def test_a_startup_hook_that_fails_is_the_result():
    def fail():
        raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        run_loop(ConsumerLoop(Order, nothing, on_startup=fail), orders(1))


def test_a_dead_letter_that_cannot_be_delivered_stops_the_loop():
    loop = make("sync", refuse_negative, dead_letter_topic="orders.DLT")
    with InMemoryKafka() as kafka:
        kafka.refuse("orders.DLT")
        result = run_loop(loop, orders(1, -1), raises=(RecordError, ProducerError), kafka=kafka)

    assert result.outcomes == [PROCESSED, None]
    assert result.committed == {0: 1}
    assert result.dead_letters == ()


def test_what_is_not_settled_in_time_fails_the_test_and_says_what_is_missing():
    async def hang(order: Order) -> None:
        await asyncio.Event().wait()

    loop = AsyncConsumerLoop(Order, hang, commit_strategy="after_processing")

    with pytest.raises(
        AssertionError,
        match=r"running and has not settled all of 1 records.*1 handlers are running",
    ):
        run_loop(loop, orders(1), timeout=0.3)


def test_a_hook_that_hangs_is_cancelled_and_said():
    async def hang() -> None:
        await asyncio.Event().wait()

    async def handle(order: Order) -> None:
        pass

    loop = AsyncConsumerLoop(Order, handle, on_startup=hang)

    with pytest.raises(AssertionError, match=r"after 0.3 s the loop is starting and has not"):
        run_loop(loop, orders(1), timeout=0.3)


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        ("text", TypeError, "must be a message, .* got 'text'"),
        (Record("text"), TypeError, "must be a message, .* got 'text'"),
        (Record(b"", partition=3), ValueError, "topic orders has no partition 3: it has 1"),
    ],
)
def test_what_is_no_record_is_refused_at_once(record, error, message):
    started = []
    loop = make("sync", nothing, on_startup=lambda: started.append(1))

    with pytest.raises(error, match=message):
        run_loop(loop, [record])
    assert started == []


def test_a_loop_without_a_group_says_so_also_where_that_is_expected():
    class Groupless(Shipped):
        pass

    result = run_loop(ConsumerLoop(Groupless, nothing), raises=ConfigurationError)

    assert "has no consumer group" in str(result.error)


def test_a_model_with_a_producer_of_its_own_is_not_written_through_it():
    class Elsewhere(Order):
        @classmethod
        def get_producer(cls):
            return InMemoryKafka().producer({})

    with pytest.raises(ConfigurationError, match="a producer of its own"):
        run_loop(ConsumerLoop(Elsewhere, nothing), [Elsewhere(number=1)])


def test_many_records_take_their_time_once():
    """Some 75 µs a record, however many there are."""
    records = orders(*range(20_000))
    began = time.monotonic()

    result = run_loop(make("sync", nothing), records)

    assert result.outcomes == [PROCESSED] * 20_000
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("kind", BOTH)
def test_an_exit_in_the_handler_is_the_runs_error(kind):
    def leave(order: Order) -> None:
        raise SystemExit(3)

    result = run_loop(make(kind, leave), orders(1), raises=SystemExit)

    assert result.outcomes == [None]
    assert result.fates[0].attempts[0].error is result.error


def test_dead_letters_in_memory_are_listed_and_put_back():
    with InMemoryKafka():
        run_loop(make("sync", refuse_negative, dead_letter_topic="orders.DLT"), orders(-1))
        assert [letter.original_offset for letter in list_dead_letters("orders.DLT")] == [0]
        replay_dead_letters("orders.DLT")
        result = run_loop(make("sync", nothing))
    assert result.handled == orders(-1)


def test_single_messages_are_consumed_from_memory():
    with InMemoryKafka() as kafka:
        Order.produce_many(orders(1, 2))
        assert Order.consume_one() == Order(number=1)
        assert kafka.committed("shipping", "orders") == {0: 1}


def test_threads_work_off_records_of_several_partitions():
    loop = make("sync", nothing, max_concurrent=4)

    result = run_loop(loop, orders(*range(40)), partitions=4)

    assert sorted(order.number for order in result.handled) == list(range(40))


def test_the_connection_is_as_it_was_whatever_the_loop_said_meanwhile(monkeypatch):
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
    connect(bootstrap_servers="kafka.example:9092")
    before = get_kafka_connection().registry

    def start():
        connect(bootstrap_servers="other:9092", schema_registry_url="http://127.0.0.1:2")

    run_loop(ConsumerLoop(Order, nothing, on_startup=start), orders(1))

    connection = get_kafka_connection()
    assert connection.registry is before
    assert connection.producer_config()["bootstrap.servers"] == "kafka.example:9092"


def test_bytes_are_taken_as_they_are():
    result = run_loop(make("sync", nothing), [b"\x02\x04c2"])

    assert result.handled == [Order(number=1, customer="c2")]


def test_a_loop_without_a_topic_says_so():
    class Nowhere(FlowBaseModel):
        n: int

    with pytest.raises(SettingsError, match="Nowhere"):
        run_loop(ConsumerLoop(Nowhere, nothing, group_id="g"))
