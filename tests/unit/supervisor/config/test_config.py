"""What may be written, and what is said of the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from supervisor.config.config import SupervisorConfig
from supervisor.config.problems import ConfigError
from supervisor.config.toml import load_config
from supervisor.slot.restart import RestartMode, RestartPolicy

MINIMAL = """
[consumers.orders]
model = "shop.orders:OrderEvent"
handler = "shop.orders:process_order"
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
    def problems_of(text, environment=None):
        with pytest.raises(ConfigError) as raised:
            load(text, environment)
        return {problem.key: f"{problem.what}; {problem.hint}" for problem in raised.value.problems}

    return problems_of


def test_the_smallest_configuration_has_defaults_for_the_rest(load):
    config = load(MINIMAL)
    assert config.supervisor.http_address == ("127.0.0.1", 9108)
    assert config.supervisor.drain_timeout == 30
    assert config.supervisor.kill_delay == 5
    assert config.consumers["orders"].slots() == (None,)
    assert config.consumers["orders"].restart.restart_policy() == RestartPolicy()


def test_everything_that_can_be_written_arrives(load):
    config = load("""
[supervisor]
instance_id = "host-1"
http = "[::1]:0"
drain_timeout = "1m30s"
kill_delay = "500ms"
preload = ["shop.orders"]
log_level = "DEBUG"
log_format = "json"
[kafka]
bootstrap_servers = "kafka:9092"
security_protocol = "SASL_SSL"
sasl_mechanism = "PLAIN"
sasl_username = "me"
sasl_password = "hunter2"
schema_registry_url = "http://registry"
schema_registry_api_key = "key"
schema_registry_api_secret = "s3cret"
schema_registry_basic_auth_user_info = "a:b"
[kafka.options]
"session.timeout.ms" = 6000
"enable.ssl.certificate.verification" = false
[consumers.orders]
model = "shop.orders:OrderEvent"
handler = "shop.orders:Handlers.process"
error_handler = "shop.orders:failed"
on_startup = "shop.orders:up"
on_shutdown = "shop.orders:down"
partition_groups = [[0, 1], [2]]
membership = "dynamic"
settings = "long_running"
group_id = "group"
commit_strategy = "after_processing"
max_retries = 3
retry_delay = "250ms"
max_concurrent = 4
ordering = "key"
on_failure = "stop"
commit_interval = 2
commit_ahead = 0
poll_timeout = "100ms"
drain_timeout = "10s"
[consumers.orders.restart]
policy = "on_failure"
initial = "1s"
factor = 3
cap = "1m"
jitter = 0.5
limit = 5
window = "10m"
stable = "2m"
""")
    orders = config.consumers["orders"]
    assert config.supervisor.drain_timeout == 90
    assert config.supervisor.http_address == ("::1", 0)
    assert config.kafka.options == {
        "session.timeout.ms": "6000",
        "enable.ssl.certificate.verification": "false",
    }
    assert config.kafka.revealed()["sasl_password"] == "hunter2"
    assert orders.slots() == ((0, 1), (2,))
    assert config.drain_timeout_of("orders") == 10
    assert orders.loop_options() == {
        "model": "shop.orders:OrderEvent",
        "handler": "shop.orders:Handlers.process",
        "error_handler": "shop.orders:failed",
        "on_startup": "shop.orders:up",
        "on_shutdown": "shop.orders:down",
        "settings": "long_running",
        "group_id": "group",
        "commit_strategy": "after_processing",
        "max_retries": 3,
        "retry_delay": 0.25,
        "max_concurrent": 4,
        "ordering": "key",
        "on_failure": "stop",
        "commit_interval": 2.0,
        "commit_ahead": 0.0,
        "poll_timeout": 0.1,
        "drain_timeout": 10.0,
    }
    assert orders.restart.restart_policy() == RestartPolicy(
        mode=RestartMode.ON_FAILURE,
        initial=1,
        factor=3,
        cap=60,
        jitter=0.5,
        limit=5,
        window=600,
        stable=120,
    )


def test_every_problem_is_reported_at_once_with_its_key_path_and_a_way_out(problems):
    found = problems("""
[supervisor]
instance_id = "host 1"
http = "9108"
drain_timeout = "30 parsecs"
instance = "x"
bootstrap_servers = "localhost"
[kafka]
bootstrap_servers = "${NOWHERE}"
"group.id" = "x"
[kafka.options]
session.timeout.ms = 6000
[consumers.orders]
handler = "shop.orders.process"
workers = 4
partition_groups = [[0], [1]]
comit_strategy = "after_processing"
max_retries = true
settings = "longrunning"
ordering = "alphabetical"
[consumers.orders.restart]
initial = "1m"
jitter = 3
[consumers."a b"]
model = "a:b"
handler = "a:b"
partition_groups = [[0], [1, 0], []]
[consumer.more]
""")
    expected = {
        "supervisor.instance_id": '"host 1" cannot be part of a group.instance.id',
        "supervisor.http": '"9108" is not an address; write host and port',
        "supervisor.drain_timeout": '"30 parsecs" is not a length of time; write a number',
        "supervisor.instance": 'is an unknown key; did you mean "instance_id"?',
        "supervisor.bootstrap_servers": "is an unknown key; it belongs in [kafka]",
        "kafka.bootstrap_servers": "NOWHERE is not set; set it, or write ${NOWHERE:-default}",
        'kafka."group.id"': "librdkafka's own properties go in [kafka.options]",
        "kafka.options.session": "put names with dots in quotes",
        "consumers.orders.model": 'is missing; write it as in model = "shop.orders:OrderEvent"',
        "consumers.orders.handler": "is not a reference to an object in a module; write",
        "consumers.orders.partition_groups": "contradicts workers",
        "consumers.orders.comit_strategy": 'did you mean "commit_strategy"?',
        "consumers.orders.max_retries": "must be an integer, got true",
        "consumers.orders.settings": 'is not a settings profile; write "base"',
        "consumers.orders.ordering": "must be 'partition', 'key' or 'unordered', got",
        "consumers.orders.restart.cap": "is shorter than initial",
        "consumers.orders.restart.jitter": "must be less than or equal to 1, got 3",
        'consumers."a b"': "is not a valid consumer name; use letters",
        'consumers."a b".partition_groups': "has an empty group",
        "consumer": 'is an unknown key; did you mean "consumers"?',
    }
    assert set(found) == set(expected)
    for key, words in expected.items():
        assert words in found[key], key


def test_names_of_hosts_are_names_without_port(load, problems):
    config = load('[supervisor]\nhttp_hosts = ["Fleet.Example.org.", ".local", "*"]' + MINIMAL)
    assert config.supervisor.http_hosts == ("fleet.example.org", ".local", "*")
    for wrong in ("fleet:9108", "http://fleet", "a..b", "", "*.example.org"):
        found = problems(f'[supervisor]\nhttp_hosts = ["{wrong}"]' + MINIMAL)
        assert "write names without port" in found["supervisor.http_hosts[0]"], wrong


def test_a_partition_in_two_groups_is_named(problems):
    found = problems(MINIMAL + "partition_groups = [[0, 1], [1, 2], [2]]")
    assert "two workers: 1, 2" in found["consumers.orders.partition_groups"]


def test_no_consumer_at_all_is_a_problem(problems):
    assert "[consumers.NAME]" in problems("")["consumers"]
    assert "at least 1" in problems("[consumers]")["consumers"]


def test_a_syntax_error_names_line_and_column(problems):
    found = problems("[supervisor]\nhttp = 9108:1\n")
    assert list(found) == ["line 2, column 12"]
    assert "is not TOML" in found["line 2, column 12"]


def test_a_missing_file_is_one_problem(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file") as raised:
        load_config(tmp_path / "nothing.toml")
    assert len(raised.value.problems) == 1


def test_a_file_that_is_not_utf8_is_one_problem(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'[kafka]\nsasl_username = "\xe9"\n')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.toml")


def test_variables_come_from_the_environment_or_their_default(load):
    config = load(
        MINIMAL + 'group_id = "${A}-${B:-b}-${C:-}-$${D}-$E"\nworkers = "${WORKERS}"',
        {"A": "a", "WORKERS": "3"},
    )
    assert config.consumers["orders"].group_id == "a-b--${D}-$E"
    assert config.consumers["orders"].workers == 3


def test_an_empty_variable_counts_as_not_set_where_there_is_a_default(load):
    config = load(MINIMAL + 'group_id = "${A:-x}"', {"A": ""})
    assert config.consumers["orders"].group_id == "x"


def test_a_broken_variable_is_a_problem(problems):
    assert (
        "without the name of a variable"
        in problems(MINIMAL + 'group_id = "${1}"')["consumers.orders.group_id"]
    )


def test_a_value_from_the_environment_is_not_shown_in_the_error(problems):
    found = problems(MINIMAL + 'ordering = "${ORDER}"', {"ORDER": "hunter2"})
    assert "hunter2" not in str(found)
    assert "${ORDER}" in found["consumers.orders.ordering"]


def test_a_secret_can_be_in_a_file_beside_the_configuration(load, tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    config = load(MINIMAL + '[kafka]\nsasl_password_file = "password"')
    assert config.kafka.revealed()["sasl_password"] == "hunter2"


def test_a_secret_given_twice_or_unreadable_is_a_problem(problems):
    text = '[kafka]\nsasl_password = "x"\nsasl_password_file = "y"\n'
    text += 'schema_registry_api_secret_file = "nothing"\n'
    text += "schema_registry_basic_auth_user_info_file = 3"
    found = problems(MINIMAL + text)
    assert "contradicts sasl_password" in found["kafka.sasl_password_file"]
    assert "No such file" in found["kafka.schema_registry_api_secret_file"]
    assert "is not a path" in found["kafka.schema_registry_basic_auth_user_info_file"]


def test_no_secret_is_shown_by_repr_or_str_or_an_error(load, problems):
    text = """
[kafka]
sasl_password = "hunter2"
schema_registry_api_secret = "hunter3"
schema_registry_basic_auth_user_info = "me:hunter4"
schema_registry_url = "https://you:hunter%206@registry"
[kafka.options]
"ssl.key.password" = "hunter5"
"""
    config = load(MINIMAL + text)
    assert "hunter" not in repr(config) + str(config)
    assert sorted(config.kafka.secrets()) == [
        *("hunter 6", "hunter%206", "hunter2", "hunter3", "hunter4", "hunter5"),
        *("me:hunter4", "you:hunter 6", "you:hunter%206"),
    ]
    found = problems(
        MINIMAL + '[kafka]\nsasl_password = ["hunter6"]\nsecurity_protocol = "hunter7"'
    )
    assert "hunter" not in str(found)


def test_a_configuration_made_in_python_is_checked_as_well():
    consumer = {"model": "a:b", "handler": "a:b", "workers": 1, "partition_groups": [[0]]}
    with pytest.raises(ValidationError, match="contradicts workers"):
        SupervisorConfig.model_validate({"consumers": {"orders": consumer}})


@pytest.mark.parametrize(("other", "value"), [("workers", 2), ("partition_groups", [[0, 1], [2]])])
def test_only_one_key_says_how_many_workers_there_are(other, value):
    consumer = {"model": "a:b", "handler": "a:b", "partitions_per_worker": 2, other: value}
    with pytest.raises(ValidationError, match=f"contradicts {other}"):
        SupervisorConfig.model_validate({"consumers": {"orders": consumer}})


def test_a_default_number_of_workers_gives_way_to_partitions_pinned_by_size_and_the_reverse():
    base = {"model": "a:b", "handler": "a:b"}
    for default, own in [
        ({"workers": 3}, {"partitions_per_worker": 2}),
        ({"partitions_per_worker": 2}, {"workers": 3}),
        ({"partitions_per_worker": 2}, {"partition_groups": [[0]]}),
    ]:
        tables = {"defaults": default, "consumers": {"a": {**base, **own}, "b": base}}
        consumers = SupervisorConfig.model_validate(tables).consumers
        assert consumers["a"].model_dump(exclude_unset=True) == {**base, **own} | (
            {"partition_groups": ((0,),)} if "partition_groups" in own else {}
        )
        assert consumers["b"].model_dump(exclude_unset=True) == {**base, **default}


def test_the_snippet_of_the_design_is_valid(load):
    config = load("""
[supervisor]
instance_id = "${HOSTNAME:-local}"
http = "127.0.0.1:9108"
drain_timeout = "30s"
preload = []
[kafka]
bootstrap_servers = "${KAFKA_BOOTSTRAP_SERVERS:-localhost:9092}"
schema_registry_url = "http://localhost:8081"
[kafka.options]
[consumers.orders]
model = "shop.orders:OrderEvent"
handler = "shop.orders:process_order"
workers = 4
settings = "long_running"
commit_strategy = "after_processing"
[consumers.orders.restart]
""")
    assert config.supervisor.instance_id == "local"


def test_hostname_is_known_although_no_shell_exported_it(tmp_path, monkeypatch):
    monkeypatch.delenv("HOSTNAME", raising=False)
    file = tmp_path / "fleet.toml"
    file.write_text('[supervisor]\ninstance_id = "${HOSTNAME:-local}"\n' + MINIMAL)
    assert load_config(file).supervisor.instance_id != "local"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_whatever_is_written_the_answer_is_a_configuration_or_its_problems(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("any") / "fleet.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(file, {})
    assert raised.value.problems


def test_reading_a_configuration_loads_neither_kafka_nor_flowodm():
    program = (
        "import sys; from supervisor import SupervisorConfig, load_config; "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('flowodm', 'confluent_kafka', 'fastavro', 'aiohttp', 'multiprocess')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    ("written", "key", "words"),
    [
        ("retry_delay = 1" + "0" * 400, "consumers.orders.retry_delay", "is too long"),
        ("retry_delay = -1" + "0" * 400, "consumers.orders.retry_delay", "greater than or equal"),
        ("retry_delay = 1e12", "consumers.orders.retry_delay", "is too long; write 366 days"),
        ('drain_timeout = "8785h"', "consumers.orders.drain_timeout", "is too long"),
        ('retry_delay = "1' + "0" * 400 + 's"', "consumers.orders.retry_delay", "finite"),
        ("workers = 1" + "0" * 400, "consumers.orders.workers", "less than or equal to 1000"),
        ("workers = 1" + "0" * 5000, "file", "cannot be read"),
        ("workers = " + "[" * 5000 + "]" * 5000, "file", "is nested too deeply"),
    ],
)
def test_what_is_too_big_is_a_problem_and_no_traceback(problems, written, key, words):
    found = problems(MINIMAL + "max_retries = 1\n" + written)
    assert list(found) == [key]
    assert words in found[key]


def test_the_longest_time_is_366_days(load):
    config = load(MINIMAL + 'max_retries = 1\nretry_delay = "8784h"')
    assert config.consumers["orders"].retry_delay == 366 * 24 * 3600


def test_a_secret_file_whose_name_no_system_takes_is_a_problem(problems):
    found = problems(MINIMAL + '[kafka]\nsasl_password_file = "a\\u0000"\n')
    assert "cannot be read" in found["kafka.sasl_password_file"]
    assert "null" in found["kafka.sasl_password_file"]


def test_a_key_written_twice_is_named_with_its_line(problems):
    found = problems(MINIMAL + "workers = 2\nworkers = 3\n")
    assert found == {"line 6, column 12": "workers is set twice; keep one of the two"}
    found = problems(MINIMAL + "workers = 2\nworkers = [\n3]\n")
    assert list(found.values()) == [
        "the key of the value that ends here is set twice; keep one of the two"
    ]
