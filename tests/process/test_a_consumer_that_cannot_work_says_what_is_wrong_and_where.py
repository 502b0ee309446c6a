"""Real workers whose definition, model or module does not fit; no broker is needed for that."""

from __future__ import annotations

import pytest

from supervisor import Supervisor, SupervisorConfig
from support.fleets.fleets import until

MINE = """
from flowodm import ConsumerLoop, FlowBaseModel, consumer_loop

class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "unable"
    number: int

class NoTopic(FlowBaseModel):
    number: int

class NoGroup(FlowBaseModel):
    class Settings:
        topic = "orders"
    number: int

class NoAvro(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "unable"
    number: complex

def handle(order): ...
async def ahandle(order): ...
not_a_function = 3

@consumer_loop(Order)
def decorated(order): ...
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def fleet(**consumer):
    defaults = {"model": "mine:Order", "handler": "mine:handle"}
    restart = {"initial": "10ms", "limit": 2}
    config = {
        "supervisor": {"http": "", "log_format": "json"},
        "kafka": {"bootstrap_servers": "127.0.0.1:9", "sasl_password": "hunter2"},
        "consumers": {"orders": {**defaults, **consumer, "restart": restart}},
    }
    return Supervisor(SupervisorConfig.model_validate(config))


async def failure_of(**consumer):
    supervisor = fleet(**consumer)
    report = await supervisor.run()
    (member,) = supervisor._fleet.members
    assert report.workers[0].failed
    return member


@pytest.mark.parametrize(
    ("consumer", "words"),
    [
        ({"model": "nowhere:Order"}, "orders.model: there is no module nowhere; install it"),
        ({"model": "mine:Odrer"}, 'mine has no Odrer (from mine:Odrer); did you mean "Order"?'),
        ({"model": "mine:handle"}, "is not a subclass of FlowBaseModel"),
        ({"model": "mine:NoTopic"}, "NoTopic has no topic"),
        ({"model": "mine:NoGroup"}, "NoGroup has no consumer group"),
        ({"model": "mine:NoAvro"}, "NoAvro"),
        ({"handler": "mine:not_a_function"}, "orders.handler: mine:not_a_function is int, not a"),
        ({"handler": "mine:decorated"}, 'write "mine:decorated.handler" for the plain function'),
        ({"error_handler": "mine:missing"}, "orders.error_handler: mine has no missing"),
        ({"settings": "mine:handle"}, "orders.settings: mine:handle is not a settings profile"),
        (
            {"never_retry": ["OSError", "mine:handle"], "max_retries": 1},
            "orders.never_retry[1]: mine:handle is not an exception class: name a subclass of Exc",
        ),
        (
            {"handler": "mine:handel", "error_handler": "mine:missing"},
            'did you mean "handle"?; consumers.orders.error_handler: mine has no missing',
        ),
    ],
    ids=lambda value: str(next(iter(value.values()))) if isinstance(value, dict) else "",
)
async def test_it_fails_for_good_at_the_first_time(folder, consumer, words):
    member = await failure_of(**consumer)
    assert member.last_failure.reason.value == "configuration"
    assert words in member.last_failure.message
    assert member.restarts.total() == 0


async def test_a_module_that_may_work_later_is_tried_again(folder):
    (folder / "shaky.py").write_text("raise ConnectionError('no database, hunter2')")
    member = await failure_of(handler="shaky:handle")
    assert member.last_failure.reason.value == "crash"
    assert member.restarts.total() == 2
    message = member.last_failure.message
    assert message.startswith("ConnectionError: no database, [redacted]")
    assert "raised while importing shaky" in message


async def test_a_message_of_megabytes_is_cut_and_the_class_of_the_failure_is_kept(folder):
    (folder / "shaky.py").write_text("raise MemoryError('hunter2' + 'x' * 9_000_000)")
    member = await failure_of(handler="shaky:handle")
    message = member.last_failure.message
    assert member.last_failure.reason.value == "out_of_memory"
    assert message.startswith("MemoryError: [redacted]xxx")
    assert message.endswith("x…")
    assert len(message) == 4000


async def test_a_module_that_exits_on_import_is_a_crash_and_not_a_clean_end(folder):
    (folder / "shaky.py").write_text("raise SystemExit(0)")
    member = await failure_of(handler="shaky:handle")
    assert member.last_failure.reason.value == "crash"


async def test_a_worker_ended_by_a_fault_of_its_own_says_the_signal(folder):
    (folder / "shaky.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    member = await failure_of(handler="shaky:handle")
    assert member.last_failure.reason.value == "signal"
    assert member.last_failure.message == "ended by SIGSEGV"


async def test_a_module_that_hangs_on_import_can_still_be_stopped(folder):
    (folder / "shaky.py").write_text("open('reached', 'w')\nimport time\ntime.sleep(60)")
    supervisor = fleet(handler="shaky:handle", drain_timeout="300ms")
    async with supervisor:
        await until((folder / "reached").exists, "the import has begun")
    assert supervisor.report.seconds < 10
