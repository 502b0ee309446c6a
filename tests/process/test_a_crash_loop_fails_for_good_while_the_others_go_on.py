from __future__ import annotations

import signal

from supervisor.report import ExitStatus
from support.fleets.fleets import PATIENCE, Host, assigned, embedded, slots, until
from support.waiting import wait_until

IMPATIENT = {"restart": {"initial": "20ms", "cap": "100ms", "limit": 3, "window": "60s"}}


def test_one_consumer_fails_the_other_goes_on_and_the_exit_status_says_so():
    with Host({"bad": ("crash", IMPATIENT), "good": "steady"}) as host:
        wait_until(lambda: host.slots()[0]["state"] == "failed", PATIENCE, "it failed")
        wait_until(lambda: assigned(host.slots()[1]), PATIENCE, "the other one is assigned")
        code, reasons = host.get("/readyz")
        assert code == 503
        assert "bad/0: failed (RuntimeError: no database)" in reasons
        assert "good" not in reasons
        assert host.get("/healthz")[0] == 200
        assert host.slots()[0]["restarts"] == 3
        assert (
            'restarts_total{consumer="bad",reason="crash",slot="0"} 3.0' in host.get("/metrics")[1]
        )
        host.signal(signal.SIGTERM)
        assert host.wait() == ExitStatus.FAILED


async def test_each_delay_is_longer_than_the_one_before(caplog):
    caplog.set_level("WARNING", "supervisor")
    restart = {"initial": "20ms", "jitter": 0, "limit": 4, "window": "60s"}
    supervisor = embedded({"bad": ("crash", {"restart": restart})})
    report = await supervisor.run()
    assert report.status is ExitStatus.FAILED
    delays = [record.args[1] for record in caplog.records if "starts in" in record.message]
    assert delays == [0.02, 0.04, 0.08, 0.16]


async def test_the_run_ends_when_every_consumer_has_failed_for_good():
    supervisor = embedded({"one": ("crash", IMPATIENT), "two": "misconfigured"})
    report = await supervisor.run()
    assert [worker.failed for worker in report.workers] == [True, True]
    assert report.status is ExitStatus.FAILED


async def test_a_wrong_configuration_is_not_started_again_and_says_what_is_wrong():
    supervisor = embedded({"bad": "misconfigured", "good": "steady"})
    async with supervisor:
        bad = await until(
            lambda: (slot := slots(supervisor)["bad/0"])["state"] == "failed" and slot, "failed"
        )
        assert bad["restarts"] == 0
        assert bad["last_failure"]["reason"] == "configuration"
        assert bad["last_failure"]["message"] == "there is no module shop"
        await until(lambda: assigned(slots(supervisor)["good/0"]), "the other one is assigned")
