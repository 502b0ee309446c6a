"""Supervisor(config) in a host that has signal handlers, logging and a __main__ of its own."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from supervisor import StartError
from supervisor.report import ExitStatus
from support.fleets.fleets import alive, embedded, slots, until
from support.paths import SHOPS, TESTS
from support.waiting import wait_until

HANDLED = [s for s in signal.Signals if s not in {signal.SIGKILL, signal.SIGSTOP}]


def host_state():
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    root = logging.getLogger()
    return handlers, list(root.handlers), root.level, sys.excepthook, threading.excepthook


async def test_signal_handlers_logging_and_hooks_of_the_host_stay_as_they_are():
    before = host_state()
    async with embedded({"orders": "steady"}) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        assert host_state() == before
    assert host_state() == before
    assert supervisor.report.status is ExitStatus.CLEAN


def test_in_a_thread_of_its_own_as_a_plain_context_manager():
    threads = threading.active_count()
    with embedded({"orders": ("steady", {"workers": 2})}) as supervisor:
        wait_until(lambda: supervisor.ready, 20, "it is ready")
        pids = [slot["pid"] for slot in slots(supervisor).values()]
    assert supervisor.report.status is ExitStatus.CLEAN
    assert not any(alive(pid) for pid in pids)
    assert threading.active_count() == threads


def test_stop_from_another_thread_ends_the_run():
    supervisor = embedded({"orders": "steady"})
    stopper = threading.Thread(
        target=lambda: (wait_until(lambda: supervisor.ready, 20, "ready"), supervisor.stop())
    )
    stopper.start()
    report = asyncio.run(supervisor.run())
    stopper.join()
    assert report.status is ExitStatus.CLEAN


async def test_a_stop_before_the_run_starts_nothing():
    supervisor = embedded({"orders": "steady"})
    supervisor.stop()
    report = await supervisor.run()
    assert report.status is ExitStatus.CLEAN
    assert [worker.pid for worker in report.workers] == [None]
    assert supervisor._fleet._server.started == 0
    supervisor.stop()  # and one after it does nothing


async def test_leaving_the_context_after_a_stop_does_not_mean_now():
    async with embedded({"orders": ("steady", {"workers": 2})}) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        supervisor.stop()
    assert supervisor.report.status is ExitStatus.CLEAN


async def test_cancelling_the_run_drains_and_then_raises():
    supervisor = embedded({"orders": "steady"})
    task = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.ready, "it is ready")
    pid = slots(supervisor)["orders/0"]["pid"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)
    assert supervisor._fleet.members[0].outcome.clean


async def test_cancelling_twice_kills():
    supervisor = embedded({"orders": "stubborn"})
    task = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.ready, "it is ready")
    task.cancel()
    await until(lambda: slots(supervisor)["orders/0"]["state"] == "draining", "it drains")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert supervisor._fleet.members[0].outcome.killed


async def test_two_supervisors_in_one_program_do_not_disturb_each_other():
    one = embedded({"orders": "steady"}, http="127.0.0.1:0", instance_id="one")
    two = embedded({"orders": "steady"}, http="127.0.0.1:0", instance_id="two")
    async with one:
        async with two:
            await until(lambda: one.ready and two.ready, "both are ready")
            pid = slots(one)["orders/0"]["pid"]
        assert alive(pid)
        assert one.ready
        assert one._exposition.render("")[0].count(b"flowodm_build_info{") == 1
    assert one.report.status is two.report.status is ExitStatus.CLEAN


async def test_a_supervisor_runs_once():
    supervisor = embedded({"orders": "steady"})
    supervisor.stop()
    await supervisor.run()
    with pytest.raises(RuntimeError, match="runs once"):
        await supervisor.run()


async def test_what_goes_wrong_at_the_start_is_raised_by_every_way_in():
    async with embedded({"orders": "steady"}, http="127.0.0.1:0") as first:
        taken = "{}:{}".format(*first.http_address)
        with pytest.raises(StartError, match="cannot listen on"):
            await embedded({"orders": "steady"}, http=taken).run()
        with pytest.raises(StartError, match="cannot listen on"):
            async with embedded({"orders": "steady"}, http=taken):
                pass
        blocked = embedded({"orders": "steady"}, http=taken)
        with pytest.raises(StartError, match="cannot listen on"):
            await asyncio.to_thread(blocked.__enter__)


async def test_what_the_body_raises_goes_on_after_the_drain():
    supervisor = embedded({"orders": "steady"})

    async def body():
        async with supervisor:
            await until(lambda: supervisor.ready, "it is ready")
            raise KeyError

    with pytest.raises(KeyError):
        await body()
    assert supervisor.report.status is ExitStatus.CLEAN


def run_host(tmp_path, program):
    (tmp_path / "host.py").write_text(textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, tmp_path / "host.py", TESTS, SHOPS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_hosts_main_module_is_not_imported_again(tmp_path):
    code, out, errors = run_host(
        tmp_path,
        """
        import sys
        print("imported as", __name__, flush=True)
        sys.path[:0] = sys.argv[1:]
        from support.fleets.fleets import embedded
        from support.waiting import wait_until
        # No "if __name__" here on purpose.
        with embedded({"orders": ("steady", {"workers": 2})}) as supervisor:
            wait_until(lambda: supervisor.ready, 20, "it is ready")
        print("ended", supervisor.report.status.name)
        """,
    )
    assert (code, errors) == (0, "")
    assert out.splitlines() == ["imported as __main__", "ended CLEAN"]


def test_a_failed_consumer_does_not_exit_the_host(tmp_path):
    code, out, _ = run_host(
        tmp_path,
        """
        import asyncio, sys
        sys.path[:0] = sys.argv[1:]
        from support.fleets.fleets import embedded
        report = asyncio.run(embedded({"bad": "misconfigured"}).run())
        print("still here:", report.status.name)
        """,
    )
    assert (code, out) == (0, "still here: FAILED\n")
