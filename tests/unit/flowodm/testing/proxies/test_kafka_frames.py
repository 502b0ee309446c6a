"""The Kafka proxy's changes to answers, as kafka-python reads them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.admin import DescribeClusterResponse
from kafka.protocol.metadata import ApiVersionsResponse, FindCoordinatorResponse, MetadataResponse

from flowodm.testing.proxies.kafka_frames import (
    API_VERSIONS,
    DESCRIBE_CLUSTER,
    FETCH,
    FIND_COORDINATOR,
    LARGEST,
    METADATA,
    PRODUCE,
    Conversation,
    changed,
)

HOSTS = {("kafka-1.example", 9092): ("127.0.0.1", 40001), ("b" * 200, 9093): ("127.0.0.1", 40002)}
FLEXIBLE = {METADATA: 9, FIND_COORDINATOR: 3, DESCRIBE_CLUSTER: 0}


def answer_of(response, api, version):
    """What a client reads of an answer after the change."""
    tags = b"\0" if version >= FLEXIBLE[api] else b""
    body = tags + bytes(response.encode(version=version))
    out = changed(api, version, body, HOSTS.__getitem__)
    assert out[: len(tags)] == tags
    return type(response).decode(out[len(tags) :], version=version)


def with_other_addresses(items):
    return [HOSTS[item.host, item.port] for item in items]


def addresses(items):
    return [(item.host, item.port) for item in items]


@pytest.mark.parametrize("version", range(LARGEST[METADATA] + 1))
def test_metadata_names_the_proxy_for_each_broker_and_is_the_same_otherwise(version):
    broker = MetadataResponse.MetadataResponseBroker
    topic = MetadataResponse.MetadataResponseTopic
    rack = {"rack": "r1"} if version else {}
    response = MetadataResponse(
        version=version,
        brokers=[
            broker(version=version, node_id=n, host=host, port=port, **rack)
            for n, (host, port) in enumerate(HOSTS)
        ],
        topics=[topic(version=version, error_code=0, name="orders", partitions=[])],
        controller_id=1,
    )

    answer = answer_of(response, METADATA, version)

    assert addresses(answer.brokers) == with_other_addresses(response.brokers)
    assert [b.node_id for b in answer.brokers] == [0, 1]
    assert [t.name for t in answer.topics] == ["orders"]
    assert not version or [b.rack for b in answer.brokers] == ["r1", "r1"]


@pytest.mark.parametrize("version", range(LARGEST[FIND_COORDINATOR] + 1))
def test_a_coordinator_is_at_the_proxy(version):
    place = {"node_id": 7, "host": "kafka-1.example", "port": 9092, "error_code": 0}
    if version < 4:
        response = FindCoordinatorResponse(version=version, **place)
    else:
        one = FindCoordinatorResponse.Coordinator
        coordinators = [one(version=version, key=key, **place) for key in ("a", "b")]
        response = FindCoordinatorResponse(version=version, coordinators=coordinators)

    answer = answer_of(response, FIND_COORDINATOR, version)

    coordinators = [answer] if version < 4 else answer.coordinators
    assert {(f.node_id, f.host, f.port) for f in coordinators} == {(7, "127.0.0.1", 40001)}
    assert len(coordinators) == (1 if version < 4 else 2)


@pytest.mark.parametrize("version", range(LARGEST[FIND_COORDINATOR] + 1))
def test_no_coordinator_stays_none(version):
    place = {"node_id": -1, "host": "", "port": -1, "error_code": 15}
    if version < 4:
        response = FindCoordinatorResponse(version=version, **place)
    else:
        coordinators = [FindCoordinatorResponse.Coordinator(version=version, key="a", **place)]
        response = FindCoordinatorResponse(version=version, coordinators=coordinators)

    answer = answer_of(response, FIND_COORDINATOR, version)

    assert answer.to_dict() == response.to_dict()


@pytest.mark.parametrize("version", range(LARGEST[DESCRIBE_CLUSTER] + 1))
def test_a_described_cluster_is_at_the_proxy(version):
    broker = DescribeClusterResponse.DescribeClusterBroker
    response = DescribeClusterResponse(
        version=version,
        cluster_id="abc",
        controller_id=1,
        brokers=[
            broker(version=version, broker_id=n, host=host, port=port, rack=None)
            for n, (host, port) in enumerate(HOSTS)
        ],
    )

    answer = answer_of(response, DESCRIBE_CLUSTER, version)

    assert addresses(answer.brokers) == with_other_addresses(response.brokers)
    assert answer.cluster_id == "abc"


@pytest.mark.parametrize("version", range(5))
def test_versions_are_told_up_to_those_that_are_known_here(version):
    one = ApiVersionsResponse.ApiVersion
    offered = {PRODUCE: 13, FETCH: 18, METADATA: 20, FIND_COORDINATOR: 3, 18: 4, 68: 1}
    response = ApiVersionsResponse(
        version=version,
        api_keys=[
            one(version=version, api_key=k, min_version=0, max_version=m)
            for k, m in offered.items()
        ],
    )
    body = bytes(response.encode(version=version))

    answer = ApiVersionsResponse.decode(
        changed(API_VERSIONS, version, body, HOSTS.__getitem__), version=version
    )

    largest = {key.api_key: key.max_version for key in answer.api_keys}
    assert largest == {PRODUCE: 9, FETCH: 15, METADATA: 13, FIND_COORDINATOR: 3, 18: 4, 68: 1}


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def request(api: int, version: int, correlation: int, rest: bytes = b"rest") -> bytes:
    return frame(struct.pack(">hhi", api, version, correlation) + rest)


BROKER = MetadataResponse.MetadataResponseBroker(
    version=1, node_id=1, host="kafka-1.example", port=9092, rack=None
)
ANSWER = bytes(MetadataResponse(version=1, brokers=[BROKER], topics=[]).encode(version=1))


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in at} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.integers(0, 2**16), max_size=20), st.lists(st.integers(0, 2**16), max_size=20))
def test_a_stream_cut_anywhere_is_changed_in_the_same_places(requests_cut, answers_cut):
    asked = request(PRODUCE, 9, 1) + request(METADATA, 1, 2) + request(FETCH, 11, 3, b"x" * 300)
    other = b"\0\0\0\1" + b"batch" * 50
    fetched = b"\0\0\0\3" + ANSWER
    answers = frame(other) + frame(b"\0\0\0\2" + ANSWER) + frame(fetched)

    conversation = Conversation(HOSTS.__getitem__)
    passed = b"".join(conversation.request(piece) for piece in cut(asked, requests_cut))
    came = b"".join(conversation.answer(piece) for piece in cut(answers, answers_cut))

    assert passed == asked
    metadata = changed(METADATA, 1, ANSWER, HOSTS.__getitem__)
    assert metadata != ANSWER
    assert came == frame(other) + frame(b"\0\0\0\2" + metadata) + frame(fetched)


@given(st.binary(max_size=200), st.lists(st.integers(0, 2**16), max_size=8))
def test_what_is_not_kafkas_protocol_passes_as_it_is_but_for_what_may_still_be_a_head(data, at):
    conversation = Conversation(HOSTS.__getitem__)
    tls = b"\x16\x03\x01\x02\x00" + data

    sent = b"".join(conversation.request(piece) for piece in cut(tls, at))

    assert tls.startswith(sent)
    assert len(sent) == len(tls) or len(tls) < 12
