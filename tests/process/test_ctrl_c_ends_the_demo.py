from __future__ import annotations

import os
import re
import signal
import socket
import time

from support.fleets.demos import Demo

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7]|38|48)(?:;\d+)*m")
TABLE = ("worker", "state", "pid", "partitions", "records/s", "lag", "restarts")


def test_on_a_terminal_it_shows_a_live_table_in_colours_and_drains():
    with Demo(terminal=True) as demo:
        demo.until_ready()
        demo.until(lambda: re.search(r"mailing/1 +│ processing", demo.plain), "mailing/1 works")
        pids = {slot["pid"] for c in demo.status()["consumers"].values() for slot in c["slots"]}
        demo.press_ctrl_c()
        assert demo.wait() == 0, demo.text
        demo.nothing_is_left()

    assert len(pids) == 4
    for column in TABLE:
        assert column in demo.plain
    for pid in pids:
        assert f"│ {pid} │" in demo.plain
    for worker in ("packing/0", "packing/1", "mailing/0", "mailing/1"):
        assert demo.text.count(f"{worker}: done") == 1
    assert demo.text.count("stopping") == 1  # the supervisor got one signal, not two
    assert re.search(r"produced \d+, processed \d+ \(", demo.text)
    assert demo.text.rindex("\x1b[?25h") > demo.text.rindex("\x1b[?25l")  # the cursor is back
    assert COLOUR.search(demo.text)


def test_a_second_ctrl_c_kills_at_once_and_no_color_is_heeded():
    with Demo(terminal=True, NO_COLOR="1") as demo:
        demo.until_ready()
        demo.until(lambda: re.search(r"mailing/1 +│ processing", demo.plain), "the table is shown")
        hanging = demo.status()["consumers"]["packing"]["slots"][0]["pid"]
        os.kill(hanging, signal.SIGSTOP)
        demo.press_ctrl_c()
        demo.until(lambda: demo.text.count("worker ended") == 3, "the others have ended")
        begun = time.monotonic()
        demo.press_ctrl_c()
        assert demo.wait() == 1
        assert time.monotonic() - begun < 5  # the drain would have waited for 10 s
        demo.nothing_is_left()
    assert "packing/0: killed" in demo.text
    assert demo.text.endswith("the demo failed: the supervisor ended with status 3\n")
    assert not COLOUR.search(demo.text)


def test_ctrl_c_while_everything_starts_leaves_nothing_behind():
    with Demo(terminal=True) as demo:
        demo.until_it_says("a broker listens")
        demo.press_ctrl_c()
        assert demo.wait() == 0, demo.text
        demo.nothing_is_left()


def test_beside_a_second_demo_and_a_kafka_of_the_users_own_sigint_drains_too():
    foreign = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
    }
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        with Demo(DEMO_PORT=port, **foreign) as demo:
            demo.until_ready()
            assert f":{port}/" not in demo.text
            assert len(demo.status()["consumers"]) == 2
            demo.interrupt()
            assert demo.wait() == 0, demo.text
            demo.nothing_is_left()
    assert demo.text.count(": done") == 4
