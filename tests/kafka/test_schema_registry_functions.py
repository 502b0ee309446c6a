"""flowodm's schema functions against a real registry."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

import flowodm
from flowodm import (
    ConfigurationError,
    FlowBaseModel,
    RegistryUnavailableError,
    SchemaCompatibilityError,
    SchemaRegistryError,
    SchemaValidationError,
    check_compatibility,
    connect,
    delete_subject,
    generate_model_from_registry,
    generate_model_from_schema,
    get_schema_versions,
    list_subjects,
    load_schema_from_registry,
    upload_schema,
    validate_against_registry,
)
from flowodm.avro import wire
from flowodm.avro.codec import codec_for


def order(*fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "OrderEvent",
        "namespace": "shop",
        "fields": [{"name": "order_id", "type": "string"}, *fields],
    }


PLAIN = order()
WITH_AMOUNT = order({"name": "amount", "type": "double", "default": 0.0})
WITH_COUNT = order({"name": "count", "type": "int", "default": 0})
WITH_NEEDED_COUNT = order({"name": "count", "type": "int"})


@pytest.fixture
def subject(registry):
    connect(schema_registry_url=registry)
    return f"{uuid.uuid4().hex}-value"


@pytest.fixture
def upload(subject, tmp_path):
    def upload(schema, level=None):
        path = tmp_path / "order.avsc"
        path.write_text(json.dumps(schema), encoding="utf-8")
        return upload_schema(path, subject, level)

    return upload


def model_of(schema: Any) -> Any:
    return generate_model_from_schema(schema, topic="orders")


def test_what_is_uploaded_is_listed_counted_and_loaded(subject, upload):
    first, second = upload(PLAIN), upload(WITH_AMOUNT)

    assert first != second
    assert upload(PLAIN) == first
    assert subject in list_subjects()
    assert get_schema_versions(subject) == [1, 2]
    assert load_schema_from_registry(subject) == WITH_AMOUNT
    assert load_schema_from_registry(subject, "latest") == WITH_AMOUNT
    assert load_schema_from_registry(subject, 1) == PLAIN
    assert load_schema_from_registry(subject, "1") == PLAIN


def test_what_is_loaded_may_be_changed(subject, upload):
    upload(PLAIN)
    load_schema_from_registry(subject)["fields"].clear()
    assert load_schema_from_registry(subject) == PLAIN


def test_the_level_of_an_upload_is_that_of_the_subject_from_then_on(subject, upload):
    upload(PLAIN, "BACKWARD")
    with pytest.raises(SchemaCompatibilityError, match=subject):
        upload(WITH_NEEDED_COUNT)

    upload(WITH_NEEDED_COUNT, "none")

    assert get_schema_versions(subject) == [1, 2]


def test_a_file_that_is_no_schema_is_not_uploaded(subject, upload):
    with pytest.raises(SchemaValidationError, match=r"order\.avsc"):
        upload({"type": "record", "name": "Order", "fields": [{"name": "a", "type": "nope"}]})
    with pytest.raises(ValueError, match="SIDEWAYS"):
        upload(PLAIN, "SIDEWAYS")

    assert subject not in list_subjects()


def test_what_is_not_there_is_an_error_that_names_it(subject, upload):
    upload(PLAIN)
    for call in (
        lambda: load_schema_from_registry(f"no-{subject}"),
        lambda: get_schema_versions(f"no-{subject}"),
        lambda: delete_subject(f"no-{subject}"),
        lambda: delete_subject(f"no-{subject}", permanent=True),
        lambda: generate_model_from_registry(f"no-{subject}", topic="orders"),
        lambda: validate_against_registry(model_of(PLAIN), f"no-{subject}"),
    ):
        with pytest.raises(SchemaRegistryError, match=f"no-{subject}"):
            call()
    with pytest.raises(SchemaRegistryError, match="version 9"):
        load_schema_from_registry(subject, 9)
    for version in ("newest", 0, "-1"):
        with pytest.raises(ValueError, match="'latest'"):
            load_schema_from_registry(subject, version)


def test_a_subject_without_a_named_schema_makes_no_model(subject, registry):
    with SchemaRegistryClient({"url": registry}) as client:
        client.register_schema(subject, Schema('["null", "string"]', "AVRO"))

    with pytest.raises(SchemaRegistryError, match="no schema with a name"):
        generate_model_from_registry(subject, topic="orders")


def test_a_deleted_subject_is_gone_and_may_come_back(subject, upload):
    upload(PLAIN)
    upload(WITH_AMOUNT)
    assert load_schema_from_registry(subject, 1) == PLAIN

    assert delete_subject(subject) == [1, 2]

    assert subject not in list_subjects()
    with pytest.raises(SchemaRegistryError, match=subject):
        load_schema_from_registry(subject, 1)
    upload(PLAIN)
    assert subject in list_subjects()


def test_a_subject_is_deleted_for_good_at_once(subject, upload):
    upload(PLAIN)

    assert delete_subject(subject, permanent=True) == [1]

    assert subject not in list_subjects()


def test_a_model_registers_again_after_its_subject_was_deleted(subject, registry):
    class OrderEvent(FlowBaseModel):
        class Settings:
            topic = "orders"
            schema_subject = subject

        order_id: str

    OrderEvent.register_schema()
    delete_subject(subject)

    OrderEvent.register_schema()

    assert subject in list_subjects()


def test_a_generated_model_writes_with_the_id_of_its_schema(subject, upload):
    schema_id = upload(WITH_COUNT)
    model = generate_model_from_registry(subject, topic=subject.removesuffix("-value"))

    data = codec_for(model).encode(model(order_id="a", count=3))

    assert wire.schema_id_of(data) == schema_id
    assert get_schema_versions(subject) == [1]
    codec_for(model).load_schema(schema_id)
    assert codec_for(model).decode(data) == model(order_id="a", count=3)


def test_a_model_can_be_made_of_an_earlier_version_or_of_a_subjects_name(subject, upload):
    upload(PLAIN)
    upload(WITH_COUNT)

    first = generate_model_from_registry(
        subject, topic="orders", version=1, class_name="First", consumer_group="g"
    )
    latest = generate_model_from_schema(subject, topic="orders")

    assert (first.__name__, list(first.model_fields)) == ("First", ["order_id"])
    assert first.Settings.consumer_group == "g"  # type: ignore[attr-defined]
    assert list(latest.model_fields) == ["order_id", "count"]


def test_a_model_can_be_made_of_a_schema_that_refers_to_others(subject, registry):
    address = {"type": "record", "name": "shop.Address", "fields": [{"name": "a", "type": "int"}]}
    referring = order({"name": "home", "type": "shop.Address"})
    with SchemaRegistryClient({"url": registry}) as client:
        client.register_schema(f"address-{subject}", Schema(json.dumps(address), "AVRO"))
        reference = SchemaReference("shop.Address", f"address-{subject}", 1)
        client.register_schema(subject, Schema(json.dumps(referring), "AVRO", [reference]))

    model: Any = generate_model_from_registry(subject, topic="orders")

    assert model(order_id="x", home={"a": 1}).home.a == 1


def test_a_model_is_valid_or_not_against_what_the_registry_has(subject, upload):
    upload(WITH_COUNT)
    assert validate_against_registry(model_of(WITH_COUNT), subject).is_valid

    result = validate_against_registry(model_of(WITH_AMOUNT), subject)

    assert not result.is_valid
    assert any("amount" in error for error in result.errors)


def test_a_subject_without_versions_takes_any_schema(subject):
    result = check_compatibility(model_of(PLAIN), subject)

    assert result.is_compatible
    assert "no versions" in result.message


@pytest.mark.parametrize(
    ("level", "compatible"),
    [
        ("NONE", True),
        ("BACKWARD", True),
        ("BACKWARD_TRANSITIVE", False),
        ("FORWARD", True),
        ("FORWARD_TRANSITIVE", True),
        ("FULL", True),
        ("FULL_TRANSITIVE", False),
    ],
)
def test_plain_levels_look_at_the_latest_version_and_transitive_ones_at_all(
    subject, upload, level, compatible
):
    upload(PLAIN, "NONE")
    upload(WITH_NEEDED_COUNT)

    result = check_compatibility(model_of(WITH_NEEDED_COUNT), subject, level)

    assert (result.is_compatible, result.compatibility_level) == (compatible, level)
    if not compatible:
        assert "records of version 1: OrderEvent.count: the writer has no such" in result.reasons[0]
        assert result.reasons[0] in result.message


def test_the_level_that_is_given_decides_and_not_the_subjects_own(subject, upload):
    upload(PLAIN, "NONE")
    model = model_of(WITH_NEEDED_COUNT)

    assert not check_compatibility(model, subject).is_compatible
    assert not check_compatibility(model, subject, "full").is_compatible
    assert check_compatibility(model, subject, "FORWARD").is_compatible
    with pytest.raises(ValueError, match="SIDEWAYS"):
        check_compatibility(model, subject, "SIDEWAYS")


def test_every_reason_is_told_with_version_and_direction(subject, upload):
    upload(order({"name": "old", "type": "int"}))

    result = check_compatibility(model_of(WITH_NEEDED_COUNT), subject, "FULL")

    assert [reason.split(": the")[0] for reason in result.reasons] == [
        "records of version 1: OrderEvent.count",
        "readers of version 1: OrderEvent.old",
    ]


CALLS = {
    "load_schema_from_registry": lambda _: load_schema_from_registry("s"),
    "generate_model_from_registry": lambda _: generate_model_from_registry("s", "t"),
    "validate_against_registry": lambda _: validate_against_registry(model_of(PLAIN), "s"),
    "check_compatibility": lambda _: check_compatibility(model_of(PLAIN), "s"),
    "check_compatibility of no level": lambda _: check_compatibility(model_of(PLAIN), "s", "NONE"),
    "upload_schema": lambda path: upload_schema(path, "s"),
    "list_subjects": lambda _: list_subjects(),
    "get_schema_versions": lambda _: get_schema_versions("s"),
    "delete_subject": lambda _: delete_subject("s"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_a_registry_that_does_not_answer_is_an_error_of_every_function(call, tmp_path):
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(PLAIN))

    with pytest.raises(ConfigurationError, match="SCHEMA_REGISTRY_URL"):
        call(path)
    connect(schema_registry_url="http://127.0.0.1:9")  # the port that nobody listens on
    with pytest.raises(RegistryUnavailableError, match="no answer"):
        call(path)


def test_the_functions_are_importable_from_flowodm_and_its_schema_module():
    for name in flowodm.schema.__all__:
        assert getattr(flowodm, name) is getattr(flowodm.schema, name)
        assert name in flowodm.__all__
