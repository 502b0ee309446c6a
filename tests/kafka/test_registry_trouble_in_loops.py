"""Trouble with the registry is waited out; only its final answer makes a record a bad one."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from flowodm import connect
from flowodm.avro import wire
from flowodm.avro.codec import Codec
from flowodm.connection import get_kafka_connection
from flowodm.events import Failed, Outcome, Stage
from flowodm.exceptions import DeserializationError, RegistryUnavailableError, SchemaRegistryError
from flowodm.metrics import PrometheusObserver
from flowodm.registry import registration
from flowodm.registry.client import SchemaRegistry
from flowodm.testing import RegistryProxy
from support.brokers.certificates import make_certificates
from support.brokers.records import Raw
from support.brokers.tls_front import TlsFront
from support.loops import BOTH, PATIENCE, Events
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.loops import Bench, Running

#: What the registry, or who stands before it, answers to a question for a schema.
ANSWERS: dict[str, tuple[int, Any]] = {
    "unauthorized": (401, None),
    "forbidden": (403, None),
    "not found by a proxy": (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
    "a time-out": (408, None),
    "too many requests": (429, None),
    "moved": (302, b""),
    "an error": (500, {"error_code": 50001, "message": "Error in the backend"}),
    "unavailable": (503, b"<html>no server is available</html>"),
    "a page with status 200": (200, b"<html>please log in</html>"),
    "JSON that is no answer": (200, {}),
}
#: What is final: no Avro schema has this id, and none will.
FINAL: dict[str, tuple[int, Any]] = {
    "an unknown id": (404, {"error_code": 40403, "message": "Schema not found"}),
    "a schema of another kind": (200, {"schema": "{}", "schemaType": "PROTOBUF"}),
    "a schema that is no JSON": (200, {"schema": "{"}),
}
#: Retries come after 0.5 s, 1 s, 2 s; a request that nobody answers takes twice this.
TIMEOUT = 0.2


@pytest.fixture
def proxy(registry: str) -> Iterator[RegistryProxy]:
    with RegistryProxy(registry) as proxy:
        yield proxy


@pytest.fixture
def new_schema(registry: str, new_bench: Callable[..., Bench]) -> Iterator[Callable[..., int]]:
    """``new_schema(bench, number) -> id``: the model's schema with another name each time."""
    outside = SchemaRegistry({"url": registry})

    def make(bench: Bench, number: int) -> int:
        name = f"{bench.topic.replace('-', '_')}.v{number}.Numbered"
        own = Codec(bench.model, subject="s").schema
        return outside.register(f"{bench.topic}-{number}", {**own, "name": name})

    yield make
    outside.close()


def ids_of_one_length(new: Callable[[int], int], number: int) -> list[int]:
    """So many ids of which none begins with another: the proxy looks for them in the path."""
    ids: list[int] = []
    for count in range(2 * number):
        ids.append(new(count))
        if len(str(ids[0])) < len(str(ids[-1])):
            ids = ids[-1:]
        if len(ids) == number:
            break
    return ids


def framed(schema_id: int, number: int) -> bytes:
    return wire.header(schema_id) + bytes([number << 1])


def through(proxy: RegistryProxy, **config: Any) -> None:
    bounds = {"timeout": TIMEOUT, "max.retries": 0}
    connect(schema_registry_url=proxy.url, schema_registry_config={**bounds, **config})


def failures(running: Running, stage: Stage) -> list[Failed]:
    return [event for event in running.events.of(Failed) if event.stage is stage]


@pytest.mark.parametrize(
    ("kind", "strategy"), [("threads", "after_processing"), ("async", "before_processing")]
)
def test_a_partition_waits_while_the_registry_misbehaves_and_the_others_go_on(
    new_bench, new_schema, proxy, kind, strategy, caplog
):
    """Each partition has its own trouble at the same time; then all of it is over."""
    troubles = list(ANSWERS.values())
    bench, seen, metrics = new_bench(partitions=len(troubles) + 1), [], CollectorRegistry()
    through(proxy, timeout=PATIENCE)
    ids = ids_of_one_length(lambda number: new_schema(bench, number), len(troubles) + 1)
    for schema_id, (status, body) in zip(ids, troubles, strict=False):
        proxy.answer(status, body, path=f"/schemas/ids/{schema_id}")
    healthy = len(troubles)
    bench.produce_raw(*(Raw(framed(schema_id, n), partition=n) for n, schema_id in enumerate(ids)))
    options = {
        "ordering": "partition",
        "max_concurrent": len(ids),
        "commit_strategy": strategy,
        "commit_interval": 0.1,
        "observers": [PrometheusObserver(metrics, consumer="c", slot="0")],
    }
    with bench.run(kind, lambda message: seen.append(message.n), **options) as running:

        def tried_again() -> bool:
            again = [event for event in failures(running, Stage.REGISTRY) if event.failures > 1]
            return {event.partition for event in again} >= set(range(healthy))

        wait_until(tried_again, PATIENCE, "each was tried again")
        wait_until(lambda: seen, PATIENCE, "the other one was handled")
        assert seen == [healthy]
        if strategy == "after_processing":
            assert set(bench.committed()) <= {healthy}
        assert running.status().joined
        assert running.events.rebalances() == ["assigned"]
        proxy.heal()
        wait_until(lambda: len(seen) == len(ids), PATIENCE, "all are handled")
        running.stop()

    assert sorted(seen) == list(range(len(ids)))
    assert bench.committed() == dict.fromkeys(range(len(ids)), 1)
    assert running.events.outcomes() == {Outcome.PROCESSED: len(ids)}
    assert {event.consequence for event in running.events.of(Failed)} == {"retry"}
    counted = {"consumer": "c", "slot": "0", "stage": "registry"}
    assert (metrics.get_sample_value("flowodm_failures_total", counted) or 0) >= 2 * healthy
    assert "stage=registry next=retry" in caplog.text


@pytest.mark.parametrize("kind", BOTH)
def test_the_registrys_final_answer_makes_a_bad_record(new_bench, proxy, kind):
    """Nothing is asked twice for a flood of them, and ids that cannot be are not asked for."""
    bench, failed = new_bench(), []
    through(proxy, timeout=PATIENCE)
    for schema_id, (status, body) in enumerate(FINAL.values(), 900_001):
        proxy.answer(status, body, path=f"/schemas/ids/{schema_id}")
    ids = [*range(900_001, 900_001 + len(FINAL)), 2**31, 2**32 - 1]
    bench.produce_raw(*(Raw(framed(schema_id, 1), partition=0) for schema_id in ids * 20))

    options = {"error_handler": lambda error, _raw, _message: failed.append(error)}
    with bench.run(kind, lambda _message: None, ordering="partition", **options) as running:
        wait_until(lambda: len(failed) == len(ids) * 20, PATIENCE, "the error handler got all")
        running.stop()

    assert {type(error) for error in failed} == {DeserializationError}
    assert [error.schema_id for error in failed] == ids * 20
    assert len(proxy.requests) == len(FINAL)
    assert bench.committed() == {0: len(ids) * 20}


@pytest.mark.parametrize(("kind", "fault"), [("sync", "refuse"), ("async", "black_hole")])
def test_a_registry_that_is_down_at_the_start_or_goes_down_later_is_waited_for(
    new_bench, new_schema, proxy, kind, fault
):
    bench, seen = new_bench(), []
    through(proxy)
    ids = [new_schema(bench, number) for number in range(2)]
    bench.produce_raw(*(Raw(framed(ids[0], n), partition=0) for n in range(5)))
    trouble = getattr(proxy, fault)()
    with bench.run(kind, lambda message: seen.append(message.n), ordering="partition") as running:
        wait_until(lambda: failures(running, Stage.REGISTRY), PATIENCE, "it is missed")
        assert seen == []
        trouble.end()
        wait_until(lambda: len(seen) == 5, PATIENCE, "it is back, and all are handled")

        with getattr(proxy, fault)():
            known = len(failures(running, Stage.REGISTRY))
            # A schema that is known needs no registry; one that is new does.
            bench.produce_raw(*(Raw(framed(ids[0], n), partition=0) for n in range(5, 10)))
            bench.produce_raw(Raw(framed(ids[1], 10), partition=0))
            wait_until(lambda: len(seen) == 10, PATIENCE, "the known ones are handled")
            wait_until(
                lambda: len(failures(running, Stage.REGISTRY)) > known, PATIENCE, "it is missed"
            )
            assert isinstance(failures(running, Stage.REGISTRY)[-1].error, RegistryUnavailableError)
        wait_until(lambda: len(seen) == 11, PATIENCE, "the new one is handled")
        running.stop()

    assert seen == list(range(11))
    assert bench.committed() == {0: 11}


@pytest.mark.parametrize("kind", ["threads", "async"])
def test_a_silent_registry_holds_up_one_handler_and_not_those_of_known_schemas(
    new_bench, new_schema, proxy, kind, monkeypatch
):
    """Many keys have a record of the new schema; asking for it takes as long as the test."""
    bench, seen = new_bench(), []
    through(proxy, timeout=2 * PATIENCE)
    monkeypatch.setattr(registration, "READ_LOCK_TIMEOUT", 0.05)
    ids = [new_schema(bench, number) for number in range(2)]
    bench.produce_raw(Raw(framed(ids[0], 0), key=b"first", partition=0))
    options = {"ordering": "key", "max_concurrent": 3}
    with bench.run(kind, lambda message: seen.append(message.n), **options) as running:
        wait_until(lambda: seen, PATIENCE, "the one schema is known")
        silence = proxy.black_hole()
        bench.produce_raw(
            *(Raw(framed(ids[1], 20 + n), key=b"new-%d" % n, partition=0) for n in range(6)),
            *(Raw(framed(ids[0], n), key=b"known-%d" % n, partition=0) for n in range(1, 20)),
        )
        wait_until(lambda: len(seen) == 20, PATIENCE, "those of the known schema are handled")
        silence.end()
        wait_until(lambda: len(seen) == 26, PATIENCE, "the others, too")
        running.stop()

    assert bench.committed() == {0: 26}


def test_a_slow_registry_is_only_slow(new_bench, new_schema, proxy):
    bench, seen = new_bench(), []
    through(proxy, timeout=PATIENCE)
    bench.produce_raw(Raw(framed(new_schema(bench, 0), 1), partition=0))
    with proxy.latency(0.3), bench.run("async", seen.append) as running:
        wait_until(lambda: seen, PATIENCE, "it is handled")
        running.stop()

    assert running.events.of(Failed) == []


def test_a_loop_stops_while_it_waits_for_the_registry(new_bench, new_schema, proxy):
    bench = new_bench()
    through(proxy)
    bench.produce_raw(Raw(framed(new_schema(bench, 0), 1), partition=0))
    with proxy.refuse(), bench.run("sync", print) as running:
        wait_until(lambda: failures(running, Stage.REGISTRY), PATIENCE, "it is missed")
        running.stop()

    assert bench.committed() == {}


def test_wrong_properties_of_the_registry_end_the_loop_before_any_record_is_blamed(new_bench):
    """A wrong file, for example: no record is settled for it."""
    bench = new_bench()
    connect(
        schema_registry_url="http://127.0.0.1:9",
        schema_registry_config={"ssl.ca.location": "/nowhere/ca.pem"},
    )
    bench.produce_raw(Raw(framed(1, 1), partition=0))
    events = Events()
    with pytest.raises(Exception, match="schema registry client") as caught:
        bench.run("sync", print, observers=[events]).loop.run()

    assert type(caught.value).__name__ == "ConfigurationError"
    assert bench.committed() == {}


def test_a_certificate_that_is_exchanged_ends_the_wait(new_bench, new_schema, registry, tmp_path):
    """The registry's was another authority's; and it wants to see the client's, too."""
    make_certificates(tmp_path, "server", "client")
    (tmp_path / "other").mkdir()
    make_certificates(tmp_path / "other", "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "other/server.pem", tmp_path / "other/server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "ca.pem")
    address = urlsplit(registry)
    bench, seen = new_bench(), []
    bench.produce_raw(Raw(framed(new_schema(bench, 0), 1), partition=0))
    with TlsFront((str(address.hostname), int(address.port or 0)), context) as front:
        connect(
            schema_registry_url=f"https://{front.address}{address.path}",
            schema_registry_config={
                "ssl.ca.location": str(tmp_path / "ca.pem"),
                "ssl.certificate.location": str(tmp_path / "client.pem"),
                "ssl.key.location": str(tmp_path / "client.key"),
            },
        )
        with bench.run("async", lambda message: seen.append(message.n)) as running:
            wait_until(lambda: failures(running, Stage.REGISTRY), PATIENCE, "nobody vouches")
            error = failures(running, Stage.REGISTRY)[0].error
            context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
            wait_until(lambda: seen, PATIENCE, "it is handled")
            running.stop()

    assert isinstance(error, RegistryUnavailableError)
    assert "ssl.ca.location" in str(error)
    assert seen == [1]
    assert bench.committed() == {0: 1}


@pytest.mark.parametrize("status", [401, 403])
def test_writing_with_wrong_credentials_says_so(proxy, new_bench, status):
    bench = new_bench()
    through(proxy)
    proxy.answer(status)
    with pytest.raises(SchemaRegistryError, match="check the credentials"):
        bench.model(n=1).produce()

    assert get_kafka_connection().registry is not None


def test_events_of_registry_trouble_name_no_password(new_bench, new_schema, proxy, caplog):
    bench = new_bench()
    schema_id = new_schema(bench, 0)
    address = proxy.url.replace("http://", "http://me:hunter2@")
    through(proxy, url=address)
    bench.produce_raw(Raw(framed(schema_id, 1), partition=0))
    caplog.set_level(logging.DEBUG, "flowodm")
    with proxy.refuse(), bench.run("sync", print) as running:
        wait_until(lambda: failures(running, Stage.REGISTRY), PATIENCE, "it is missed")
        running.stop()

    shown = [str(event) for event in running.events.all]
    assert "hunter2" not in caplog.text + "".join(shown)
