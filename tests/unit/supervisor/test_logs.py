"""Who logs, whatever with, ends up in one kind of line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from supervisor.redaction import Redactor

PROGRAM = """
import logging, threading, warnings, os
import structlog
from supervisor import logs
fields = {"consumer": "orders", "slot": 2, "pid": os.getpid()}
logs.configure(level="info", fmt=%r, fields=fields, secrets=["hunter2", "abc"])
logging.getLogger("shop").info("order %%s took %%d ms", "x", 5, extra={"order": "x"})
logging.getLogger("shop").debug("not shown")
structlog.get_logger("shop").warning("by structlog", amount=3)
warnings.warn("careful")
logging.getLogger("shop").error("password is %%s", "hunter2", extra={"raw": b"hunter2"})
try:
    raise ValueError("hunter2 abc")
except ValueError:
    logging.getLogger("shop").exception("failed")
facts = {"event": "partitions assigned", "group": "g", "slot": 99}
log = logging.getLogger("flowodm.consumer")
log.info("partitions assigned group=g", extra={"flowodm": facts})
thread = threading.Thread(target=lambda: 1 / 0, name="pool-1")
thread.start()
thread.join()
"""


def run(fmt):
    program = PROGRAM % fmt
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b""
    return done.stderr.decode()


def test_every_line_is_json_with_consumer_slot_and_pid_whoever_logged_it():
    lines = [json.loads(line) for line in run("json").splitlines()]
    assert len(lines) == 7
    for line in lines:
        assert (line["consumer"], line["slot"]) == ("orders", 2)
        assert isinstance(line["pid"], int)
        assert {"event", "level", "logger", "timestamp"} <= set(line)
    plain, by_structlog, warned, hidden, raised, journal, in_thread = lines
    assert plain["event"] == "order x took 5 ms"
    assert plain["order"] == "x"
    assert (by_structlog["event"], by_structlog["amount"]) == ("by structlog", 3)
    assert "careful" in warned["event"]
    assert hidden["event"] == "password is [redacted]"
    assert "hunter2" not in hidden["raw"]
    assert "ValueError: [redacted] abc" in raised["exception"]
    assert (journal["event"], journal["group"]) == ("partitions assigned", "g")
    assert "flowodm" not in journal
    assert "ZeroDivisionError" in in_thread["exception"]
    assert in_thread["thread_name"] == "pool-1"


def test_the_console_has_the_same_for_people_and_no_colours_without_a_terminal():
    text = run("console")
    assert "order x took 5 ms" in text
    assert "consumer=orders" in text
    assert "partitions assigned group=g" in text
    assert "hunter2" not in text
    assert "\x1b[" not in text


@pytest.mark.parametrize(
    ("secrets", "shown"),
    [
        ([], "password is hunter2!"),
        (["hunter2"], "password is [redacted]!"),
        (["hunt", "hunter2"], "password is [redacted]!"),
        (["is", ""], "password is hunter2!"),
    ],
)
def test_secrets_are_replaced_the_longest_first_and_too_short_ones_not(secrets, shown):
    assert Redactor(secrets)("password is hunter2!") == shown


def test_a_secret_is_found_in_containers_whatever_characters_it_has():
    program = """
import logging
from types import SimpleNamespace
from supervisor import logs
secret = 'it\\'s "hun\\\\ter2"'
logs.configure(level="info", fmt="json", fields={}, secrets=[secret])
held = {"cfg": {"password": [secret, (secret,)]}, secret: {secret}, (1, secret): 1}
held["of another kind"] = SimpleNamespace(password=secret)
logging.getLogger("shop").info("held", extra={"held": held, "number": 3, "flat": [1, None]})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    line = json.loads(done.stderr)
    hidden = "[redacted]"
    assert line["held"] == {
        "cfg": {"password": [hidden, [hidden]]},
        hidden: [hidden],
        f"(1, '{hidden}')": 1,
        "of another kind": f"namespace(password='{hidden}')",
    }
    assert (line["number"], line["flat"]) == (3, [1, None])


UNREAD = """
import logging, sys
from supervisor import logs
logs.LONGEST_QUEUE = 50
logs.configure(level="info", fmt="json", fields={})
for number in range(1000):
    logging.getLogger("shop").info("line", extra={"number": number, "filling": "x" * 1000})
print("not blocked", flush=True)
if sys.stdin.readline():
    logs.FLUSH_TIMEOUT = 30
    logs.flush()
    for number in range(1000, 1020):
        logging.getLogger("shop").info("line", extra={"number": number})
"""


@pytest.fixture
def unread():
    """A process that has logged more than its stderr, which nobody reads, and its queue take."""
    process = subprocess.Popen(
        [sys.executable, "-c", UNREAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    with process:
        yield process
        watchdog.cancel()
        process.kill()


def test_a_stderr_that_nobody_reads_neither_blocks_logging_nor_the_end(unread):
    assert unread.stdout.readline() == "not blocked\n"
    unread.stdin.close()
    assert unread.wait(20) == 0


def test_lines_that_were_dropped_are_counted_in_their_place_and_the_last_ones_are_written(unread):
    assert unread.stdout.readline() == "not blocked\n"
    unread.stdin.write("go on\n")
    unread.stdin.close()
    lines = [json.loads(line) for line in unread.stderr]
    assert unread.wait(20) == 0
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == sorted(numbers)
    assert numbers[-20:] == list(range(1000, 1020))
    places = [index for index, line in enumerate(lines) if "number" not in line]
    assert places
    for place in places:
        dropped = int(lines[place]["event"].split()[0])
        assert lines[place + 1]["number"] - lines[place - 1]["number"] == dropped + 1
    assert len(numbers) + sum(int(lines[place]["event"].split()[0]) for place in places) == 1020


def test_a_reader_that_is_slower_than_the_writer_still_gets_every_line():
    # Its queue is shorter than what it logs; a busy machine may make the reader slow indeed.
    patience = "logs.ROOM_TIMEOUT = logs.FLUSH_TIMEOUT = 30\n"
    logging_only = UNREAD.partition("print(")[0]
    program = logging_only.replace("logs.configure(", f"{patience}logs.configure(")
    with subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True
    ) as process:
        lines = [json.loads(line) for line in process.stderr]
    assert [line["number"] for line in lines] == list(range(1000))


def test_a_fork_of_user_code_logs_as_well():
    program = """
import logging, os
from supervisor import logs
logs.configure(level="info", fmt="json", fields={})
logging.getLogger("shop").info("parent")
logs.flush()
if os.fork() == 0:
    logging.getLogger("shop").info("child")
    os._exit(0)
os.wait()
"""
    # Python 3.12 and newer warn of every fork beside a thread, such as the one that logs.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["parent", "child"]
