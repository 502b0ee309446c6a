"""The contract of flowodm.schema: names, signatures, defaults, and what 0.3.1 got wrong."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from typing import Any

import pytest

import flowodm
from flowodm import (
    CompatibilityResult,
    FlowBaseModel,
    SchemaValidationError,
    ValidationResult,
    generate_model_from_schema,
    load_schema_from_file,
)
from flowodm.avro.codec import codec_for

REQUIRED = inspect.Parameter.empty
SIGNATURES: dict[str, dict[str, Any]] = {
    "load_schema_from_file": {"path": REQUIRED},
    "load_schema_from_registry": {"subject": REQUIRED, "version": "latest"},
    "generate_model_from_schema": {
        "schema_source": REQUIRED,
        "topic": REQUIRED,
        "class_name": None,
        "consumer_group": None,
    },
    "generate_model_from_registry": {
        "subject": REQUIRED,
        "topic": REQUIRED,
        "version": "latest",
        "class_name": None,
        "consumer_group": None,
    },
    "validate_against_file": {"model_class": REQUIRED, "schema_path": REQUIRED},
    "validate_against_registry": {
        "model_class": REQUIRED,
        "subject": REQUIRED,
        "version": "latest",
    },
    "check_compatibility": {
        "model_class": REQUIRED,
        "subject": REQUIRED,
        "compatibility_level": "BACKWARD",
    },
    "upload_schema": {"schema_path": REQUIRED, "subject": REQUIRED, "compatibility_level": None},
    "list_subjects": {},
    "get_schema_versions": {"subject": REQUIRED},
    "delete_subject": {"subject": REQUIRED, "permanent": False},
}


@pytest.mark.parametrize("name", list(SIGNATURES))
def test_each_function_takes_the_same_arguments_in_the_same_order(name):
    function = getattr(importlib.import_module("flowodm.schema"), name)

    parameters = inspect.signature(function).parameters

    assert {p: parameters[p].default for p in parameters} == SIGNATURES[name]
    assert getattr(flowodm, name) is function


def test_the_results_have_the_same_fields_in_the_same_order():
    assert ValidationResult(True) == ValidationResult(is_valid=True, errors=[], warnings=[])
    assert CompatibilityResult(True) == CompatibilityResult(True, "", "", reasons=[])
    first = [field.name for field in dataclasses.fields(CompatibilityResult)][:3]
    assert first == ["is_compatible", "message", "compatibility_level"]


def test_a_file_is_loaded_as_it_stands(tmp_path):
    schema = {"type": "record", "name": "Order", "fields": [], "doc": "é", "owner": "sales"}
    path = tmp_path / "order.avsc"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(json.dumps(schema, ensure_ascii=False), encoding=encoding)
        assert load_schema_from_file(path) == load_schema_from_file(str(path)) == schema
    path.write_text(json.dumps(schema, ensure_ascii=False), encoding="latin-1")
    with pytest.raises(SchemaValidationError, match=r"order\.avsc is not UTF-8"):
        load_schema_from_file(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.avsc"):
        load_schema_from_file("nowhere.avsc")


def test_a_generated_model_is_a_model_like_any_other():
    schema = {"type": "record", "name": "UserEvent", "fields": [{"name": "id", "type": "string"}]}

    model: Any = generate_model_from_schema(schema, topic="users", consumer_group="g")

    assert issubclass(model, FlowBaseModel)
    assert model(id="1").to_avro_dict() == {"id": "1"}
    assert flowodm.model.settings_of(model).consumer_group == "g"


# Defect 16.
def test_a_generated_model_keeps_arrays_enums_and_records():
    schema = {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "hue", "type": {"type": "enum", "name": "Hue", "symbols": ["RED", "BLUE"]}},
            {
                "name": "home",
                "type": {
                    "type": "record",
                    "name": "Home",
                    "fields": [{"name": "street", "type": "string"}],
                },
            },
        ],
    }
    model: Any = generate_model_from_schema(schema, topic="orders")

    message = model(tags=["a", "b"], hue="BLUE", home={"street": "x"})
    read = codec_for(model).decode(codec_for(model).encode(message))

    assert (read.tags, read.hue, read.home.street) == (["a", "b"], "BLUE", "x")
    with pytest.raises(ValueError, match="hue"):
        model(tags=[], hue="GREEN", home={"street": "x"})
    with pytest.raises(ValueError, match="street"):
        model(tags=[], hue="RED", home={})
