"""`flowodm-supervisor status | reload | restart | scale | stop`, and SIGHUP, on a real process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest

from supervisor.control.client import UnreachableError, ask
from support.fleets.fleets import HOSTS, PATIENCE, alive
from support.paths import PYTHONPATH
from support.waiting import wait_until

FLEET = """
[supervisor]
instance_id = "test"
http = ""
control_socket = "{socket}"
preload = ["standins"]

[kafka]
bootstrap_servers = "127.0.0.1:9"

[consumers.orders]
model = "shop_standins:In"
handler = "shop_standins:steady"
workers = {workers}
{more}
"""


class Command:
    """The command in a folder with a fleet.toml, and the supervisor that it started."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = folder / "run" / "control.sock"
        self.environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "NO_COLOR": "1"}

    def write(self, workers=2, more=""):
        text = FLEET.format(socket=self.socket, workers=workers, more=more)
        (self.folder / "fleet.toml").write_text(text)

    def start(self):
        return subprocess.Popen(
            [sys.executable, HOSTS / "command_host.py", "run", "fleet.toml"],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments, timeout=60):
        done = subprocess.run(
            [sys.executable, "-m", "supervisor", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def completes(self, words):
        """What bash would offer for the last word of a command line; nothing else is shown."""
        program = (
            "import sys; sys.argv[0] = 'flowodm-supervisor'\n"
            "from supervisor.__main__ import main; main()"
        )
        asked = {
            "_FLOWODM_SUPERVISOR_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env={**self.environment, **asked},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.split()

    def pids(self):
        slots = ask(self.socket, "GET", "/status")["consumers"]["orders"]["slots"]
        return {slot["slot"]: slot["pid"] for slot in slots}

    def settled(self):
        try:
            told = ask(self.socket, "GET", "/status")
        except UnreachableError:
            return False
        return told["ready"] and not told["changing"]


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)


@pytest.fixture
def supervisor(command):
    command.write()
    process = command.start()
    errors = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    try:
        wait_until(command.settled, PATIENCE, "every worker is assigned")
        process.log = errors
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGQUIT)
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        process.stderr.close()


def test_a_shell_completes_the_consumers_and_workers_that_run(command, supervisor):
    program = "flowodm-supervisor"

    assert command.completes(f"{program} restart fleet.toml --consumer o") == ["orders"]
    assert command.completes(f"{program} restart fleet.toml --consumer x") == []
    named = f"{program} restart --socket {command.socket} --consumer orders --slot "
    assert command.completes(named) == ["0", "1"]
    command.environment["FLOWODM_CONTROL_SOCKET"] = str(command.socket)
    assert command.completes(f"{program} scale ") == ["orders"]


def test_a_shell_completes_nothing_where_no_supervisor_or_file_is(command):
    assert command.completes("flowodm-supervisor restart none.toml --consumer ") == []
    command.environment["FLOWODM_CONTROL_SOCKET"] = "none.sock"
    assert command.completes("flowodm-supervisor pause --consumer ") == []


def test_status_shows_every_worker(command, supervisor):
    status, shown, _ = command("status", "fleet.toml")

    assert status == 0
    assert "orders/0" in shown
    assert "orders/1" in shown


def test_reload_changes_what_the_file_changes_and_says_so(command, supervisor):
    old = command.pids()
    command.write(workers=3)

    status, told, _ = command("reload", "fleet.toml", "--json")

    assert (status, json.loads(told)) == (
        0,
        {"added": ["orders/2"], "removed": [], "replaced": [], "paused": [], "resumed": []},
    )
    wait_until(command.settled, PATIENCE, "the third one is assigned")
    assert old.items() < command.pids().items()


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (
            "max_retrys = 3",
            'consumers.orders.max_retrys: is an unknown key; did you mean "max_retries"?',
        ),
        ('error_handler = "shop_standins:nobody"', "shop_standins has no nobody"),
    ],
)
def test_an_invalid_file_changes_nothing_and_all_of_it_is_said(command, supervisor, more, what):
    old = command.pids()
    command.write(workers=5, more=more)

    status, _, said = command("reload", "--socket", str(command.socket))

    assert status == 78
    assert what in said
    command.write()
    assert command.pids() == old


def test_a_restart_that_is_waited_for_is_over_when_the_command_returns(command, supervisor):
    old = command.pids()

    status, told, _ = command("restart", "fleet.toml", "--wait")

    assert (status, told) == (0, "replaced: orders/0, orders/1\n")
    assert command.settled()
    assert not old.items() & command.pids().items()


def test_a_stop_that_is_waited_for_is_over_when_the_command_returns(command, supervisor):
    status, _, _ = command("stop", "fleet.toml", "--wait")

    assert status == 0
    assert supervisor.wait(1) == 0


def test_sighup_reloads(command, supervisor):
    command.write(workers=1)

    supervisor.send_signal(signal.SIGHUP)

    wait_until(lambda: len(command.pids()) == 1, PATIENCE, "one worker is left")
    assert supervisor.poll() is None


def test_restart_replaces_every_worker(command, supervisor):
    old = command.pids()

    status, told, _ = command("restart", "fleet.toml")

    assert (status, told) == (0, "replaced: orders/0, orders/1\n")
    wait_until(command.settled, PATIENCE, "it is through")
    new = command.pids()
    assert all(old[slot] != new[slot] for slot in old)


def test_scale_and_its_refusal(command, supervisor):
    assert command("scale", "orders", "3", "fleet.toml")[:2] == (0, "added: orders/2\n")

    status, _, said = command("scale", "order", "3", "fleet.toml")

    assert status == 5
    assert "there is no consumer 'order'; there are orders" in said


def test_states_tells_what_happened_and_why(command, supervisor):
    command("restart", "fleet.toml", "--consumer", "orders", "--slot", "1")
    wait_until(command.settled, PATIENCE, "it is through")

    status, told, _ = command("states", "fleet.toml", "--json")

    changes = [json.loads(line) for line in told.splitlines()]
    assert status == 0
    assert {(c["slot"], c["after"]) for c in changes} >= {(0, "starting"), (1, "draining")}
    replaced = [c for c in changes if c["after"] == "draining"]
    assert [(c["slot"], c["why"]) for c in replaced] == [(1, "it is replaced: restarted")]
    assert "orders/1" in command("states", "fleet.toml")[1]


def test_a_paused_consumer_stays_paused_over_restarts_until_it_is_resumed(command, supervisor):
    def paused():
        slots = ask(command.socket, "GET", "/status")["consumers"]["orders"]["slots"]
        return [slot["paused"] for slot in slots]

    assert command("pause", "fleet.toml")[:2] == (0, "paused: orders/0, orders/1\n")
    command("restart", "fleet.toml")
    wait_until(command.settled, PATIENCE, "it is through")
    assert paused() == [True, True]

    assert command("resume", "fleet.toml", "--consumer", "orders")[0] == 0
    assert paused() == [False, False]


def test_stop_drains(command, supervisor):
    pids = command.pids().values()

    assert command("stop", "fleet.toml")[0] == 0

    assert supervisor.wait(PATIENCE) == 0
    assert not any(map(alive, pids))
    assert not command.socket.exists()


def test_a_second_supervisor_of_the_same_name_is_refused_and_disturbs_nothing(command, supervisor):
    old = command.pids()

    second = command.start()
    said = second.communicate(timeout=PATIENCE)[1]

    assert second.returncode == 71
    assert f"another supervisor (pid {supervisor.pid})" in said
    assert "another supervisor.instance_id" in said
    assert command.pids() == old


def test_the_socket_of_a_dead_supervisor_is_taken_over(command):
    command.write()
    command.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(command.socket))
    process = command.start()
    try:
        wait_until(command.settled, PATIENCE, "it is served")
        assert stat.S_IMODE(command.socket.stat().st_mode) == 0o600
    finally:
        process.send_signal(signal.SIGQUIT)
        process.communicate(timeout=PATIENCE)


def test_a_folder_that_others_can_write_to_is_refused(command):
    command.write()
    command.socket.parent.mkdir()
    command.socket.parent.chmod(0o777)

    process = command.start()
    said = process.communicate(timeout=PATIENCE)[1]

    assert process.returncode == 71
    assert "chmod go-w" in said


def test_without_a_supervisor_the_commands_say_so(command):
    command.write()

    status, _, said = command("status", "fleet.toml")

    assert status == 69
    assert f"no supervisor serves {command.socket}" in said


@pytest.mark.parametrize(
    ("request_line", "body", "status", "said"),
    [
        ("POST /restart", b'{"consumr": "orders"}', 400, "unknown key 'consumr'"),
        ("POST /scale", b'{"consumer": "orders"}', 400, "workers must be given"),
        (
            "POST /scale",
            b'{"consumer": "orders", "workers": true}',
            400,
            "workers must be an integer",
        ),
        ("POST /restart", b"[1]", 400, "not a JSON object"),
        ("POST /restart", b"{", 400, "not JSON"),
        ("GET /reload", b"", 404, "there is no GET /reload"),
        ("POST /restart", b" " * 70_000, 413, "too large"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered(
    command, supervisor, request_line, body, status, said
):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(command.socket))
        head = f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer or b"}" not in answer:
            answer += client.recv(65536)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert said in answer.decode()
