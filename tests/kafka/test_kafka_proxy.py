"""KafkaProxy: nothing of a client's traffic goes around it, on a real Kafka and an embedded one."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient

from flowodm import connect, get_producer
from flowodm.testing import EmbeddedBroker, KafkaProxy, Way
from support.brokers.clients import IMPATIENT
from support.loops import PATIENCE, Bench, brisk
from support.waiting import wait_until


@pytest.fixture(scope="module")
def proxy(kafka):
    with KafkaProxy(kafka) as proxy:
        yield proxy


@pytest.fixture
def bench(proxy, kafka, new_topic, group):
    connect(bootstrap_servers=proxy.bootstrap_servers)
    yield Bench(kafka, new_topic(2), group)  # which looks at the broker itself
    proxy.heal()


def test_a_loop_behind_it_works_and_knows_of_no_other_broker(bench, proxy):
    bench.produce(range(100), partition=lambda n: n % 2)
    seen = []

    with bench.run("sync", lambda m: seen.append(m.n)) as running:
        wait_until(lambda: bench.committed() == bench.ends(), PATIENCE, "all is committed")
        running.stop()
    assert sorted(seen) == list(range(100))

    bench.model(n=100).produce()
    known = get_producer().list_topics(timeout=PATIENCE).brokers.values()
    assert {f"{b.host}:{b.port}" for b in known} == {proxy.bootstrap_servers}


def test_the_proxys_faults_are_what_clients_see(bench, proxy):
    """All their connections: in the black hole nothing is handled, and then everything."""
    seen = []
    with bench.run("sync", lambda m: seen.append(m.n), settings=brisk()) as running:
        running.joined()
        with proxy.black_hole():
            bench.produce(range(10))
            with pytest.raises(AssertionError):
                wait_until(lambda: seen, 0.5, "a record comes through")
        wait_until(lambda: len(seen) == 10, PATIENCE, "all is handled")
        running.stop()
    assert bench.committed() == {0: 10}


def test_a_request_whose_answer_is_lost_is_done(bench, proxy):
    producer = get_producer()
    producer.list_topics(bench.topic, timeout=PATIENCE)
    bench.model(n=0).produce()
    done = []

    with proxy.black_hole(Way.ANSWERS):
        bench.model(n=1).produce_nowait(callback=lambda error, message: done.append(error))
        wait_until(lambda: sum(bench.ends().values()) == 2, PATIENCE, "the broker has the record")
        assert done == []
    wait_until(lambda: done, PATIENCE, "it is confirmed")
    assert done == [None]
    assert sum(bench.ends().values()) == 2


def test_another_library_does_not_find_the_way_around_it_either(proxy):
    admin = KafkaAdminClient(bootstrap_servers=proxy.bootstrap_servers)
    try:
        found = admin.describe_cluster()
    finally:
        admin.close()
    places = {(b["host"], b["port"]) for b in found["brokers"]}
    assert places <= {("127.0.0.1", listener.port) for listener in proxy._listeners.values()}
    assert places


def test_every_broker_of_a_cluster_is_behind_it(group):
    with (
        EmbeddedBroker(brokers=3) as cluster,
        KafkaProxy(cluster.bootstrap_servers) as proxy,
    ):
        assert len(proxy.bootstrap_servers.split(",")) == 3
        connect(bootstrap_servers=proxy.bootstrap_servers, producer_config=IMPATIENT)
        producer = get_producer()
        for n in range(40):
            producer.produce("embedded", b"%d" % n, partition=n % 4)
        assert producer.flush(PATIENCE) == 0
        with proxy.refuse():
            producer.produce("embedded", b"late")
            assert producer.flush(0.3) == 1
        assert producer.flush(PATIENCE) == 0
    assert proxy.bootstrap_servers == ""
