"""A loop, a producer and coroutines work over every secured connection, and leak no secret."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from flowodm import ConsumerLoop, FlowBaseModel, connect, get_async_consumer, get_async_producer
from flowodm.connection import get_kafka_connection
from flowodm.events import Trouble
from flowodm.exceptions import FlowODMError, ProducerError
from support.brokers import records
from support.brokers.secure import KEY_PASSWORD, PASSWORD, USER, SecureKafka
from support.loops import PATIENCE, Events, Running, brisk
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRETS = (PASSWORD, KEY_PASSWORD)
IMPATIENT = {"message.timeout.ms": 1_000}


class Order(FlowBaseModel):
    class Settings:
        topic = ""

    order_id: str


class TokenSource:
    """What an OAUTHBEARER callback belongs to; like most such things it cannot be copied."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __deepcopy__(self, memo: object) -> Any:
        raise TypeError("it holds connections and locks")

    def token(self, _config: str) -> tuple[str, float]:
        expires = time.time() + 300
        claims = {"sub": USER, "iat": time.time() - 1, "exp": expires}
        parts = ({"alg": "none"}, claims)
        text = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
        self.tokens.append(".".join(part.decode().rstrip("=") for part in text) + ".")
        return self.tokens[-1], expires


@pytest.fixture(scope="module")
def secure_kafka(
    kafka_parts: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecureKafka]:
    kafka = SecureKafka(tmp_path_factory.mktemp("certificates"))
    with kafka.server:
        kafka.add_user()
        yield kafka


@pytest.fixture(autouse=True)
def topic(secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"orders-{uuid.uuid4().hex[:8]}"
    for topic in (name, f"{name}.DLT"):
        records.create_topic(secure_kafka.bootstrap_servers, topic, 1, None)
    monkeypatch.setattr(Order.Settings, "topic", name)
    return name


def login(protocol: str, mechanism: str | None, source: TokenSource) -> Callable[..., Any]:
    """connect()'s arguments for a listener, from what it takes as arguments of its own."""

    def arguments(kafka: SecureKafka) -> dict[str, Any]:
        given: dict[str, Any] = {
            "bootstrap_servers": f"127.0.0.1:{kafka.ports[protocol]}",
            "security_protocol": protocol.upper(),
            "kafka_config": {"log_level": 3},
        }
        if protocol.endswith("ssl"):
            given["ssl_ca_location"] = str(kafka.folder / "ca.pem")
        if protocol == "ssl":
            given["ssl_certificate_location"] = str(kafka.folder / "client.pem")
            given["ssl_key_location"] = str(kafka.folder / "client.key")
            given["ssl_key_password"] = KEY_PASSWORD
        elif mechanism == "OAUTHBEARER":
            given["sasl_mechanism"] = mechanism
            given["kafka_config"]["oauth_cb"] = source.token
        else:
            given |= {"sasl_mechanism": mechanism, "sasl_username": USER}
            given["sasl_password"] = PASSWORD
        return given

    return arguments


def consumed(group: str, count: int, **options: Any) -> list[str]:
    """What a loop handles, until there are so many."""
    seen: list[str] = []

    def handle(order: Order) -> None:
        seen.append(order.order_id)
        if order.order_id == "bad":
            raise ValueError("bad")

    loop = ConsumerLoop(
        Order, handle, brisk(), group, commit_strategy="after_processing", **options
    )
    with Running(loop, Events()) as running:
        wait_until(
            lambda: len(seen) >= count or not running.alive, PATIENCE, f"{count} were handled"
        )
        running.stop()
    return seen


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("sasl_plaintext", "SCRAM-SHA-512"),
        ("sasl_plaintext", "PLAIN"),
        ("sasl_plaintext", "OAUTHBEARER"),
        ("sasl_ssl", "SCRAM-SHA-512"),
        ("ssl", None),
    ],
)
def test_a_loop_its_dead_letters_a_producer_and_coroutines_work(
    secure_kafka, topic, group, protocol, mechanism, caplog
):
    source = TokenSource()
    caplog.set_level(logging.DEBUG, "flowodm")
    connect(**login(protocol, mechanism, source)(secure_kafka))

    Order(order_id="one").produce()
    Order(order_id="bad").produce()

    async def send_and_receive() -> Any:
        producer = await get_async_producer()
        await producer.produce(topic, b"\x0athree")
        consumer = await get_async_consumer(f"{group}-async", [topic], brisk())
        message = await asyncio.wait_for(consumer.poll(), PATIENCE)
        await consumer.commit(message)
        await consumer.close()
        return message

    first = asyncio.run(send_and_receive())
    assert first.error() is None
    assert first.offset() == 0
    dead = {"dead_letter_topic": f"{topic}.DLT", "dead_letter_limit": 1.0}
    assert consumed(group, 3, **dead) == ["one", "bad", "three"]

    kafka = secure_kafka.bootstrap_servers
    assert records.committed_offsets(kafka, group, topic) == {0: 3}
    assert records.committed_offsets(kafka, f"{group}-async", topic) == {0: 1}
    assert len(records.read_all(kafka, f"{topic}.DLT")) == 1
    shown = f"{caplog.text} {get_kafka_connection()!r}"
    for secret in (*SECRETS, *source.tokens):
        assert secret not in shown
    assert bool(source.tokens) == (mechanism == "OAUTHBEARER")


@pytest.mark.parametrize(
    ("protocol", "mechanism"), [("sasl_plaintext", "SCRAM-SHA-512"), ("sasl_ssl", "PLAIN")]
)
def test_a_wrong_password_is_said_by_events_and_the_log_which_do_not_show_it(
    secure_kafka, group, protocol, mechanism, caplog
):
    given = login(protocol, mechanism, TokenSource())(secure_kafka)
    connect(**{**given, "sasl_password": "wr0ng-secret"}, producer_config=IMPATIENT)
    events = Events()
    loop = ConsumerLoop(Order, print, brisk(), group, observers=[events])
    with Running(loop, events) as running:
        with pytest.raises(ProducerError) as unsent:
            Order(order_id="one").produce(timeout=PATIENCE)
        wait_until(lambda: events.of(Trouble), PATIENCE, "the loop has said it")
        running.stop()

    assert {event.code for event in events.of(Trouble)} >= {"_AUTHENTICATION"}
    assert "uthentication" in caplog.text
    assert "wr0ng" not in f"{caplog.text}{unsent.value}{events.all}"


@pytest.mark.parametrize("wrong", ["ssl_ca_location", "ssl_key_password"])
def test_a_certificate_or_a_key_that_is_not_right_is_an_error_without_secrets(
    secure_kafka, wrong, caplog
):
    given = login("ssl", None, TokenSource())(secure_kafka)
    given[wrong] = None if wrong == "ssl_ca_location" else "wr0ng-secret"
    connect(**given, producer_config=IMPATIENT)

    with pytest.raises(FlowODMError) as caught:
        Order(order_id="one").produce(timeout=PATIENCE)
    assert "wr0ng" not in f"{caught.value}{caplog.text}"
