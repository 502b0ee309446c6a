from __future__ import annotations

import re
import signal

import pytest

from support.fleets.demos import LAST_LINE, Demo
from support.fleets.fleets import alive


def test_it_kills_a_worker_that_comes_back_and_every_order_is_processed():
    with Demo(DEMO_SECONDS="12") as demo:
        assert demo.wait() == 0, demo.text
        demo.nothing_is_left()

    killed = int(re.search(r"SIGKILL to packing/0 \(pid (\d+)\)", demo.text)[1])
    started = re.findall(r"packing/0 \(pid (\d+)\): worker started", demo.text)
    assert int(started[0]) == killed != int(started[1])
    assert "packing/0 is back on partitions [0, 1]" in demo.text

    produced, packed, _, mailed, _, restarted = map(
        int, LAST_LINE.fullmatch(demo.lines[-1]).groups()
    )
    assert produced == packed == mailed > 1_000
    assert restarted == 1

    for worker in ("packing/0", "packing/1", "mailing/0", "mailing/1"):
        assert re.search(rf"^  {worker}: done .* 0 records left$", demo.text, re.MULTILINE)
    assert re.search(r"orders produced \| packing/0 processing \[0,1\] [1-9]\d*/s lag", demo.text)
    assert "\x1b" not in demo.text


def test_an_order_that_nobody_produced_fails_the_audit(tmp_path):
    with Demo(DEMO_SECONDS="4", TMPDIR=str(tmp_path)) as demo:
        demo.until_it_says("is back on partitions")
        (ledger,) = tmp_path.glob("flowodm-demo-*")
        ledger.joinpath("mailing.0").write_text("987654321\n")
        assert demo.wait() == 1
        demo.nothing_is_left()

    reason = "mailing processed order 987654321, which nobody produced"
    assert demo.lines[-1] == f"the demo failed: {reason}"
    assert list(tmp_path.glob("flowodm-demo-*")) == []


@pytest.mark.parametrize("victim", ["supervisor", "broker"])
def test_it_fails_in_one_clear_line_when_a_part_dies(victim):
    with Demo(DEMO_SECONDS="60") as demo:
        demo.until_ready()
        pid = getattr(demo, victim)()
        demo.kill(pid)
        assert demo.wait() == 1
        demo.nothing_is_left()

    assert demo.lines[-1].startswith("the demo failed: ")
    assert {
        "supervisor": "the supervisor ended with status -9",
        "broker": "the embedded broker ended by itself",
    }[victim] in demo.lines[-1]
    assert "Traceback" not in demo.text


def test_sigterm_before_the_end_drains_and_is_a_failure():
    with Demo(DEMO_SECONDS="60") as demo:
        demo.until_ready()
        demo.process.send_signal(signal.SIGTERM)
        assert demo.wait() == 1
        demo.nothing_is_left()

    assert demo.lines[-1] == "the demo failed: interrupted before its end"
    assert "packing/0: done" in demo.text


def test_when_the_demo_is_sigkilled_everything_else_ends():
    with Demo() as demo:
        demo.until_ready()
        assert alive(demo.supervisor())
        demo.process.kill()
        demo.wait()
        demo.nothing_is_left()
