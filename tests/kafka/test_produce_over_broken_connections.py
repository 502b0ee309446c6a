"""Connections to the broker break while messages are sent: each is written once, in its order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from flowodm import FlowBaseModel, connect
from flowodm.serialization.codecs import codec_for
from flowodm.testing import KafkaProxy, Way
from support.brokers.clients import IMPATIENT
from support.brokers.records import end_offsets, read_all
from support.loops import PATIENCE
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TOTAL = 2_000


class Number(FlowBaseModel):
    class Settings:
        topic = ""

    n: float
    filler: str = "x" * 200


@pytest.fixture
def proxy(kafka: str) -> Iterator[KafkaProxy]:
    with KafkaProxy(kafka) as proxy:
        # Small requests, so that the cuts find some under way.
        slow = {"batch.num.messages": 50, "linger.ms": 1, "log_level": 0}
        connect(proxy.bootstrap_servers, producer_config={**IMPATIENT, **slow})
        yield proxy


def numbers(kafka: str, proxy: KafkaProxy) -> Iterator[Number]:
    """All of them; twice the broker has written some, and its answers get lost."""
    for n in range(TOTAL):
        yield Number(n=n)
        if n % 1_000 == 500:
            reaches(kafka, n + 1)  # so that there is a connection to lose
            with proxy.black_hole(Way.ANSWERS):
                yield Number(n=n + 0.5)
                reaches(kafka, n + 2)
                assert proxy.cut() > 0


def reaches(kafka: str, end: int) -> None:
    """Wait until the topic holds so many records, or more."""
    topic = Number.Settings.topic
    wait_until(lambda: end_offsets(kafka, topic)[0] >= end, PATIENCE, f"{end} are written")


@pytest.mark.parametrize("way", ["produce_many", "aproduce_many"])
def test_each_message_is_there_once_in_its_order(kafka, proxy, new_topic, monkeypatch, way):
    topic = new_topic(1)
    monkeypatch.setattr(Number.Settings, "topic", topic)
    if way == "produce_many":
        number = Number.produce_many(numbers(kafka, proxy))
    else:
        number = asyncio.run(Number.aproduce_many(numbers(kafka, proxy)))
    decode = codec_for(Number).decode
    written = [decode(record.value()).n for record in read_all(kafka, topic)]
    assert written == sorted({*range(TOTAL), 500.5, 1500.5})
    assert len(written) == number
