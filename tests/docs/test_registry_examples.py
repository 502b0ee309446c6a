"""docs/registry.md and docs/security.md: their examples run, and say what connect() takes."""

from __future__ import annotations

import inspect
import re
import uuid
from pathlib import Path
from typing import Any

from flowodm import connect, get_schema_registry
from flowodm.avro import wire
from flowodm.connection import get_kafka_connection
from flowodm.connection.options import _ENVIRONMENT
from flowodm.model_settings import ModelSettings
from support.brokers.records import create_topic, read_all

DOCS = Path(__file__).parents[2] / "docs"


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks_of(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text_of(name), flags=re.MULTILINE | re.DOTALL)


def test_the_registrys_examples_run_in_their_order(kafka, registry):
    suffix, names = uuid.uuid4().hex[:8], {"__name__": "examples"}
    for topic in ("orders", "payments"):
        create_topic(kafka, f"{topic}-{suffix}", 1)
    for block in blocks_of("registry.md"):
        source = re.sub(r'"(orders|payments)(-value)?"', rf'"\1-{suffix}\2"', block)
        source = source.replace("localhost:9092", kafka).replace("http://localhost:8081", registry)
        exec(compile(source, "registry.md", "exec", dont_inherit=True), names)

    client = get_schema_registry()
    assert client.get_compatibility(f"orders-{suffix}-value") == "FULL_TRANSITIVE"
    for topic, subject in (("orders", "value"), ("payments", "examples.Payment")):
        [record] = read_all(kafka, f"{topic}-{suffix}")
        schema_id = wire.schema_id_of(record.value() or b"")
        assert client.get_latest_version(f"{topic}-{suffix}-{subject}").schema_id == schema_id


def test_the_security_examples_become_properties_of_the_clients():
    names: dict[str, Any] = {"__name__": "examples"}
    found = []
    for block in blocks_of("security.md"):
        get_kafka_connection().reset()
        exec(compile(block, "security.md", "exec", dont_inherit=True), names)
        found.append(get_kafka_connection()._options)

    scram, certificate, token, registry = found
    assert scram.kafka("producer", {})["sasl.mechanism"] == "SCRAM-SHA-512"
    assert certificate.kafka("producer", {})["ssl.key.password"]
    assert token.properties(None)["oauth_cb"]("")[0] == "from your identity provider"
    config = registry.registry()
    assert config is not None
    assert config["bearer.auth.client.secret"]
    assert "from a secret store" not in repr(found)


def test_the_tables_name_what_there_is():
    """Every variable that is read, and every argument of connect() about security."""
    text = text_of("security.md")
    named = {name for name in _ENVIRONMENT.values() if name.startswith(("KAFKA_SASL", "KAFKA_SSL"))}
    assert {name for name in named if f"`{name}`" not in text} == set()
    arguments = {
        name for name in inspect.signature(connect).parameters if name.startswith(("sasl", "ssl"))
    }
    assert {name for name in arguments if f"`{name}`" not in text} == set()
    settings = {"schema_subject", "subject_strategy", "auto_register", "use_latest_version"}
    assert settings <= set(ModelSettings.__dataclass_fields__)
    assert {name for name in settings if f"`{name}`" not in text_of("registry.md")} == set()
