"""supervisor.consumer_table: what [consumers.NAME] knows is what flowodm knows."""

from __future__ import annotations

import inspect

import pytest

import flowodm.settings
from flowodm import AsyncConsumerLoop, ConsumerLoop
from supervisor.consumer_table import PROFILES, ConsumerTable


@pytest.mark.parametrize("loop", [ConsumerLoop, AsyncConsumerLoop])
def test_every_option_of_a_consumer_is_an_argument_of_the_loops(loop):
    not_the_loops = {"workers", "partition_groups", "membership", "restart"}
    arguments = set(inspect.signature(loop).parameters)
    assert set(ConsumerTable.model_fields) - not_the_loops <= arguments


def test_every_profile_name_is_a_profile_of_flowodm():
    for name, profile in PROFILES.items():
        assert issubclass(getattr(flowodm.settings, profile), flowodm.settings.BaseSettings), name
