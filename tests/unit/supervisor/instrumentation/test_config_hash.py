"""Two hosts that run the same configuration can see it."""

from __future__ import annotations

import re

from supervisor.config.config import SupervisorConfig
from supervisor.instrumentation.config_hash import config_hash


def config(supervisor=None, kafka=None, /, **orders):
    table = {"model": "shop:Order", "handler": "shop:process", **orders}
    return SupervisorConfig.model_validate(
        {"supervisor": supervisor or {}, "kafka": kafka or {}, "consumers": {"orders": table}}
    )


def test_the_same_content_has_the_same_hash_and_another_has_another():
    assert re.fullmatch(r"[0-9a-f]{12}", config_hash(config()))
    assert config_hash(config(workers=2)) == config_hash(config(workers=2))
    assert config_hash(config(workers=2)) != config_hash(config(workers=3))


def test_the_instance_is_no_part_of_it():
    one, other = ({"instance_id": name} for name in ("host-1", "host-2"))
    assert config_hash(config(one)) == config_hash(config(other))


def test_a_secret_cannot_be_guessed_from_it_as_it_is_no_part_of_it():
    one = {"sasl_password": "1234", "options": {"ssl.key.password": "5678"}}
    other = {"sasl_password": "4321", "options": {"ssl.key.password": "8765"}}
    one["schema_registry_url"], other["schema_registry_url"] = "http://a:1@r", "http://a:2@r"
    assert config_hash(config(None, one)) == config_hash(config(None, other))
    assert config_hash(config({}, {}, kafka=one)) == config_hash(config({}, {}, kafka=other))
