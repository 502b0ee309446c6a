"""flowodm-supervisor as an operator meets it: help, statuses, errors without tracebacks."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor.report import ExitStatus
from supervisor.version import VERSION
from support.waiting import wait_until

GOOD = """
[supervisor]
http = "127.0.0.1:{port}"
[kafka]
bootstrap_servers = "127.0.0.1:9"
[consumers.orders]
model = "shop:Order"
handler = "shop:process"
"""


def command(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def test_help_teaches_a_first_configuration_and_the_exit_statuses():
    done = command("--help")
    assert done.returncode == ExitStatus.CLEAN
    for words in ("[consumers.orders]", "handler =", "Ctrl-C", "/metrics", "run", "check", "demo"):
        assert words in done.stdout, words
    for status in ExitStatus:
        assert f"{status.value} " in done.stdout, status


def test_version():
    assert command("--version").stdout == f"flowodm-supervisor {VERSION}\n"


@pytest.mark.parametrize("arguments", [["fly"], ["run"], ["run", "--now", "x.toml"]])
def test_a_wrong_command_line_is_status_2(arguments):
    done = command(*arguments)
    assert done.returncode == ExitStatus.USAGE
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["run", "check"])
def test_a_bad_toml_prints_all_its_errors(name, tmp_path):
    (tmp_path / "bad.toml").write_text(
        '[supervisor]\nhttp = "nowhere"\n[kafka]\nsasl_password = ["hunter2"]\n'
        '[consumers.orders]\nmodle = "shop:Order"\nhandler = "shop"\nworkers = 0\n'
    )
    done = command(name, "bad.toml", cwd=tmp_path)
    assert done.returncode == ExitStatus.CONFIGURATION
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert "\x1b[" not in done.stderr
    *problems, last = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in problems] == [
        ["bad.toml", "supervisor.http"],
        ["bad.toml", "kafka.sasl_password"],
        ["bad.toml", "consumers.orders.model"],
        ["bad.toml", "consumers.orders.handler"],
        ["bad.toml", "consumers.orders.workers"],
        ["bad.toml", "consumers.orders.modle"],
    ]
    assert last == "bad.toml is not valid: 6 problems"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_and_for_those_who_want_them(no_color, coloured, tmp_path):
    ours, theirs = os.openpty()
    subprocess.run(
        [sys.executable, "-m", "supervisor", "check", "nothing.toml"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": no_color},
        stderr=theirs,
        timeout=60,
        check=False,
    )
    text = os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert b"cannot be read" in text
    assert (b"\x1b[31m" in text) is coloured


def test_a_missing_file_is_one_clear_error():
    done = command("run", "nothing.toml")
    assert done.returncode == ExitStatus.CONFIGURATION
    assert "nothing.toml: file: cannot be read: No such file or directory" in done.stderr


def test_a_port_in_use_is_one_clear_error_and_nothing_is_started(tmp_path):
    (tmp_path / "shop.py").write_text("open('imported', 'w')\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "fleet.toml").write_text(GOOD.format(port=port))
        done = command("run", "fleet.toml", cwd=tmp_path)
    assert done.returncode == ExitStatus.UNAVAILABLE
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert not (tmp_path / "imported").exists()


def test_check_imports_in_a_child_and_says_what_each_consumer_does(tmp_path):
    (tmp_path / "fleet.toml").write_text(GOOD.format(port=0))
    (tmp_path / "shop.py").write_text(
        "from flowodm import FlowBaseModel\n"
        "print('noise on stdout')\n"
        "class Order(FlowBaseModel):\n"
        "    class Settings:\n"
        "        topic = 'orders'\n"
        "        consumer_group = 'shop'\n"
        "    number: int\n"
        "async def process(order): ...\n"
    )
    done = command("check", "fleet.toml", cwd=tmp_path)
    assert done.returncode == ExitStatus.CLEAN, done.stderr
    assert "noise" not in done.stdout
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    facts = {line[0]: line[1] for line in lines if len(line) == 2}
    assert facts["topic:"] == "orders"
    assert facts["group:"] == "shop"
    assert facts["loop:"] == "AsyncConsumerLoop"
    assert facts["delivery:"].startswith("at most once")
    assert done.stdout.splitlines()[-1] == "fleet.toml is valid"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "consumers.orders.model: there is no module shop; install it"),
        ("import nowhere", "consumers.orders.model: importing shop failed: No module named 'now"),
        ("class Order: ...\n", "is not a subclass of FlowBaseModel"),
        ("Odrer = 1\n", 'shop has no Order (from shop:Order); did you mean "Odrer"?'),
        ("def f(:\n", "importing shop failed: SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise OSError('no database')", "OSError: no database; consumers.orders.model: raised"),
        ("import os; os._exit(9)", "importing its code ended the process, with exit status 9"),
    ],
)
def test_check_says_what_cannot_be_imported(module, words, tmp_path):
    (tmp_path / "fleet.toml").write_text(GOOD.format(port=0))
    if module is not None:
        (tmp_path / "shop.py").write_text(module)
    done = command("check", "fleet.toml", cwd=tmp_path)
    assert done.returncode == ExitStatus.CONFIGURATION
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="macOS has no /dev/full")
def test_an_output_that_cannot_be_written_is_one_line_and_status_74():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "supervisor", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == "flowodm-supervisor: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("arguments", ["--version", "schema"])
def test_a_pipe_that_nobody_reads_is_one_line_and_status_74(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "supervisor", arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.returncode == 74
    assert done.stderr == "flowodm-supervisor: [Errno 32] Broken pipe\n"


def test_an_interrupt_during_the_imports_is_one_line_and_status_130(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    done = command("--version", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 130
    assert done.stderr == "flowodm-supervisor: interrupted\n"


def test_closed_standard_streams_are_dev_null(tmp_path):
    (tmp_path / "typer.py").write_text(
        "import os, sys\n"
        "for fd in range(3):\n"
        "    assert os.path.samestat(os.fstat(fd), os.stat(os.devnull))\n"
        "print(sys.stdin.read(), file=sys.stderr, flush=True)\n"
        "os._exit(42)\n"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m supervisor --version <&- >&- 2>&-', sys.executable],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 42


MODEL = """
from flowodm import FlowBaseModel
class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shop"
    number: int
def process(order): ...
"""


def test_check_does_not_wait_for_threads_that_a_module_starts(tmp_path):
    (tmp_path / "fleet.toml").write_text(GOOD.format(port=0))
    thread = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    (tmp_path / "shop.py").write_text(MODEL + thread)
    began = time.monotonic()
    done = command("check", "fleet.toml", cwd=tmp_path)
    assert done.returncode == ExitStatus.CLEAN, done.stderr
    assert time.monotonic() - began < 30


def test_check_says_which_consumer_ended_the_process_and_which_were_not_looked_at(tmp_path):
    table = '[consumers.{0}]\nmodel = "{1}:Order"\nhandler = "{1}:process"\n'
    tables = [("first", "shop"), ("guilty", "ends"), ("innocent", "shop")]
    kafka = '[kafka]\nbootstrap_servers = "127.0.0.1:9"\n'
    (tmp_path / "fleet.toml").write_text(kafka + "".join(table.format(*names) for names in tables))
    (tmp_path / "shop.py").write_text(MODEL)
    (tmp_path / "ends.py").write_text("import os; os._exit(9)")
    done = command("check", "fleet.toml", cwd=tmp_path)
    assert done.returncode == ExitStatus.CONFIGURATION
    ended = "ended the process, with exit status 9"
    guilty, innocent, _ = done.stderr.splitlines()
    assert guilty == f"fleet.toml: consumers.guilty: importing its code {ended}"
    not_checked = "fleet.toml: consumers.innocent: was not checked: importing the code of "
    assert innocent == f"{not_checked}consumers.guilty {ended}"
    assert done.stdout.startswith("first\n")


def test_a_full_stderr_that_nobody_reads_keeps_nobody_from_ending_it(tmp_path):
    (tmp_path / "shop.py").write_text(MODEL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "fleet.toml").write_text(GOOD.format(port=port))
    unread, full = os.pipe()
    os.set_blocking(full, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, b"x")
    os.set_blocking(full, True)
    run = [sys.executable, "-m", "supervisor", "run", "fleet.toml"]
    with subprocess.Popen(run, cwd=tmp_path, stderr=full) as process:
        try:
            wait_until(lambda: answers(port), 30, "it serves HTTP")
            process.terminate()
            assert process.wait(30) == ExitStatus.CLEAN
        finally:
            process.kill()
            os.close(full)
            os.close(unread)


def answers(port):
    with contextlib.suppress(OSError):
        return socket.create_connection(("127.0.0.1", port), 1).close() is None
    return False
