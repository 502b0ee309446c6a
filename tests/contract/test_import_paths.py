"""What flowodm 0.3.1 lets a program import is here, under the same paths."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import flowodm

BY_MODULE = {
    "connection": """
        KafkaConnection connect get_async_consumer get_async_producer get_consumer
        get_kafka_connection get_producer get_schema_registry
    """,
    "consumer": "AsyncConsumerLoop ConsumerLoop async_consumer_loop consumer_loop",
    "exceptions": """
        ConfigurationError ConnectionError ConsumerError DeserializationError FlowODMError
        ProducerError SchemaCompatibilityError SchemaError SchemaRegistryError
        SchemaValidationError SerializationError SettingsError TopicError
    """,
    "model": "FlowBaseModel",
    "schema": """
        CompatibilityResult ValidationResult check_compatibility delete_subject
        generate_model_from_registry generate_model_from_schema get_schema_versions
        list_subjects load_schema_from_file load_schema_from_registry upload_schema
        validate_against_file validate_against_registry
    """,
    "settings": """
        BaseSettings BatchSettings HighThroughputSettings LongRunningSettings RealTimeSettings
        ReliableSettings
    """,
}
PATHS = [(module, name) for module, names in BY_MODULE.items() for name in names.split()]


@pytest.mark.parametrize("name", ["__version__", *(name for _, name in PATHS)])
def test_the_package_has(name):
    assert getattr(flowodm, name) is not None
    assert name in flowodm.__all__


@pytest.mark.parametrize(("module", "name"), PATHS)
def test_the_module_has_the_same_as_the_package(module, name):
    found = getattr(importlib.import_module(f"flowodm.{module}"), name)
    assert found is getattr(flowodm, name)


def test_importing_all_of_it_works_in_a_fresh_interpreter():
    program = "from flowodm import *; print(__version__, FlowBaseModel.__name__)"
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.split() == [flowodm.__version__, "FlowBaseModel"]


def test_what_is_not_there_is_an_ordinary_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing_like_this'"):
        _ = flowodm.nothing_like_this
