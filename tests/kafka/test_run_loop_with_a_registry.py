"""run_loop with a real schema registry behind the in-memory Kafka, and a proxy in between."""

from __future__ import annotations

import pytest

from flowodm import AsyncConsumerLoop, ConsumerLoop, FlowBaseModel, RegistryUnavailableError
from flowodm.avro import wire
from flowodm.events import Outcome, Stage
from flowodm.testing import InMemoryKafka, RegistryProxy, assert_round_trip, poison, run_loop


def order_model(topic: str) -> type[FlowBaseModel]:
    class Order(FlowBaseModel):
        class Settings:
            consumer_group = "shipping"

        number: int

    Order.Settings.topic = topic
    return Order


@pytest.fixture
def proxy(registry):
    with RegistryProxy(registry) as proxy:
        yield proxy


@pytest.fixture
def memory(proxy):
    with InMemoryKafka(schema_registry_url=proxy.url) as kafka:
        yield kafka


@pytest.fixture
def model(group):
    return order_model(f"orders-{group}")


def test_values_are_framed_and_an_unknown_id_is_a_bad_record(memory, model):
    ids = []

    result = run_loop(
        ConsumerLoop(model, lambda order, context: ids.append(context.schema_id), max_retries=3),
        [model(number=1), poison(schema_id=2_000_000_000), poison()],
    )

    assert result.outcomes == [Outcome.PROCESSED, Outcome.SKIPPED, Outcome.SKIPPED]
    assert ids == [wire.schema_id_of(result.fates[0].record.value())]
    assert [failure.stage for failure in result.failures] == [Stage.DESERIALIZE] * 2


def test_a_registry_that_is_overloaded_is_waited_for(proxy, model):
    with InMemoryKafka(schema_registry_url=proxy.url):
        written = assert_round_trip(model(number=1))
        assert wire.schema_id_of(written) is not None

    # Another connection, which knows no schema.
    with (
        InMemoryKafka(schema_registry_url=proxy.url),
        proxy.answer(503, times=2, path="/schemas/ids"),
    ):
        loop = AsyncConsumerLoop(model, lambda order: None, commit_strategy="after_processing")
        result = run_loop(loop, [written])

    assert result.outcomes == [Outcome.PROCESSED]
    assert {failure.stage for failure in result.failures} == {Stage.REGISTRY}
    assert all(isinstance(e, RegistryUnavailableError) for e in result.fates[0].errors)


def test_one_schema_is_asked_for_once(memory, model, proxy):
    run_loop(ConsumerLoop(model, lambda order: None), [model(number=n) for n in range(50)])

    asked = [request.path for request in proxy.requests]
    assert len(asked) == len(set(asked))
