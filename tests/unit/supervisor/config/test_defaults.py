"""[defaults] and [consumers.NAME.kafka]: what consumers share, and what is different for one."""

from __future__ import annotations

import pytest

from supervisor.config.config import SupervisorConfig
from supervisor.config.consumer import ConsumerTable
from supervisor.config.defaults import OWN, DefaultsTable
from supervisor.config.problems import ConfigError
from supervisor.config.toml import load_config
from supervisor.fleet.configured_slots import start_frame
from supervisor.protocol import Identity, Logging

ORDERS = """
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
"""
MAIL = """
[consumers.mail]
model = "shop:Mail"
handler = "shop:send"
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text, environment=None):
        file = tmp_path / "fleet.toml"
        file.write_text(text)
        return load_config(file, environment or {})

    return load_text


@pytest.fixture
def problems(load):
    def problems_of(text):
        with pytest.raises(ConfigError) as raised:
            load(text)
        return [str(problem) for problem in raised.value.problems]

    return problems_of


def test_every_key_of_a_consumer_but_its_own_may_be_a_default():
    assert set(DefaultsTable.model_fields) == set(ConsumerTable.model_fields) - OWN


def test_a_consumers_own_value_wins_over_the_default(load):
    config = load(
        """
[defaults]
workers = 3
commit_strategy = "after_processing"
max_retries = 5
retry_delay = "2s"
drain_timeout = "1m"
[defaults.restart]
limit = 3
initial = "1s"
"""
        + ORDERS
        + MAIL
        + 'workers = 1\nretry_delay = "${DELAY}"\nrestart = { limit = 7 }\n',
        {"DELAY": "4s"},
    )
    orders, mail = config.consumers["orders"], config.consumers["mail"]
    assert (orders.workers, orders.retry_delay, orders.max_retries) == (3, 2, 5)
    assert (mail.workers, mail.retry_delay, mail.max_retries) == (1, 4, 5)
    assert orders.commit_strategy == mail.commit_strategy == "after_processing"
    assert config.drain_timeout_of("mail") == 60
    assert (orders.restart.limit, orders.restart.initial, orders.restart.cap) == (3, 1, 30)
    assert (mail.restart.limit, mail.restart.initial) == (7, 1)


def test_a_default_without_effect_in_a_consumer_is_not_taken_over(load):
    config = load(
        """
[defaults]
workers = 3
retry_delay = "2s"
retry_backoff = 2
retry_max_delay = "1m"
dead_letter_limit = 0.1
"""
        + ORDERS
        + "partition_groups = [[0], [1]]\n"
        + MAIL
        + "max_retries = 3\n"
    )
    orders, mail = config.consumers["orders"], config.consumers["mail"]
    assert len(orders.slots()) == 2
    assert orders.retry_delay is orders.retry_backoff is orders.retry_max_delay is None
    assert orders.dead_letter_limit is mail.dead_letter_limit is None
    assert (mail.retry_delay, mail.retry_backoff, mail.retry_max_delay) == (2, 2, 60)


def test_a_wrong_default_is_named_once_however_many_consumers_there_are(problems):
    found = problems(
        """
[defaults]
max_retries = "many"
settings = "hasty"
retry_on = []
retry_dealy = 1
model = "shop:Order"
[defaults.kafka]
[defaults.restart]
jitter = 2
"""
        + ORDERS
        + 'retry_delay = "1s"\n'
        + MAIL
    )
    assert sorted(line.partition(": ")[0] for line in found) == [
        "defaults.kafka",
        "defaults.max_retries",
        "defaults.model",
        "defaults.restart.jitter",
        "defaults.retry_dealy",
        "defaults.retry_on",
        "defaults.settings",
    ]
    text = "\n".join(found)
    assert 'defaults.retry_dealy: is an unknown key; did you mean "retry_delay"?' in text
    assert "defaults.model: is an unknown key; it belongs in [consumers.NAME]" in text
    assert "defaults.kafka: is an unknown key; it belongs at the top: [kafka]" in text


def test_a_default_that_contradicts_a_consumer_is_named_there_with_where_it_comes_from(problems):
    (found,) = problems("[defaults]\nbatch_size = 10\n" + ORDERS + 'ordering = "key"\n' + MAIL)
    assert found.startswith("consumers.orders.batch_size: contradicts ordering")
    assert "(it comes from [defaults])" in found


def test_defaults_hold_in_python_too():
    orders = ConsumerTable.model_validate({"model": "a:B", "handler": "a:b", "workers": 2})
    config = SupervisorConfig.model_validate(
        {"defaults": {"workers": 5, "max_retries": 1}, "consumers": {"orders": orders}}
    )
    assert config.consumers["orders"].workers == 2
    assert config.consumers["orders"].max_retries == 1


def start(config, consumer):
    return start_frame(config, Identity("host", consumer, 0), None, logging=Logging())


def test_a_consumers_kafka_table_lies_over_the_common_one(load, tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    config = load(
        """
[kafka]
bootstrap_servers = "one:9092"
sasl_username = "me"
sasl_password = "hunter1"
schema_registry_url = "http://one"
[kafka.options]
"client.id" = "fleet"
"fetch.min.bytes" = 10
"""
        + ORDERS
        + """
[consumers.orders.kafka]
bootstrap_servers = "two:9092"
sasl_password_file = "secret"
[consumers.orders.kafka.options]
"fetch.min.bytes" = 20
"""
        + MAIL
    )
    assert start(config, "mail").kafka == config.kafka.revealed()
    assert start(config, "orders").kafka == {
        "bootstrap_servers": "two:9092",
        "sasl_username": "me",
        "sasl_password": "hunter2",
        "schema_registry_url": "http://one",
        "options": {"client.id": "fleet", "fetch.min.bytes": "20"},
    }
    assert "kafka" not in start(config, "orders").consumer
    assert {"hunter1", "hunter2"} <= set(config.secrets())
    assert "hunter" not in repr(config) + str(config)


def test_a_consumers_key_wins_over_the_common_option_of_the_same_meaning(load):
    common = """
[kafka]
schema_registry_basic_auth_user_info = "me:hunter1"
[kafka.options]
"metadata.broker.list" = "one:9092"
"sasl.mechanisms" = "PLAIN"
"""
    own = """
[consumers.orders.kafka]
bootstrap_servers = "two:9092"
sasl_mechanism = "SCRAM-SHA-256"
schema_registry_api_key = "key"
schema_registry_api_secret = "hunter2"
"""
    assert start(load(common + ORDERS + own), "orders").kafka == {
        "bootstrap_servers": "two:9092",
        "sasl_mechanism": "SCRAM-SHA-256",
        "schema_registry_api_key": "key",
        "schema_registry_api_secret": "hunter2",
        "options": {},
    }


def test_what_is_wrong_in_a_consumers_kafka_table_is_named_there_without_its_value(problems):
    found = problems(
        ORDERS
        + """
[consumers.orders.kafka]
security_protocol = "hunter2"
sasl_password_file = "nothing"
bootstrap_server = "x"
"""
    )
    assert len(found) == 3
    text = "\n".join(found)
    assert "consumers.orders.kafka.security_protocol: must be" in text
    assert "consumers.orders.kafka.sasl_password_file: cannot be read from nothing" in text
    assert 'consumers.orders.kafka.bootstrap_server: is an unknown key; did you mean "boot' in text
    assert "hunter2" not in text
