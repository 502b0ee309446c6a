"""check_compatibility and a real registry answer alike, change by change and level by level."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from flowodm import check_compatibility, connect, generate_model_from_schema
from support.schema_changes import CHANGES

LEVELS = ("BACKWARD", "FORWARD", "FULL")


@pytest.fixture
def client(registry):
    connect(schema_registry_url=registry)
    with SchemaRegistryClient({"url": registry}) as client:
        yield client


def text(schema: Any) -> Schema:
    return Schema(json.dumps(schema), "AVRO")


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_each_change_gets_the_answer_of_the_registry(client, change):
    subject = f"{uuid.uuid4().hex}-value"
    client.register_schema(subject, text(change.old))
    model = generate_model_from_schema(change.new, topic="orders")

    for level in LEVELS:
        client.set_compatibility(subject, level)
        answer = client.test_compatibility(subject, text(change.new))

        assert check_compatibility(model, subject, level).is_compatible == answer, level
