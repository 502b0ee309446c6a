"""Workers without Kafka: what a process test runs in place of ``supervisor.worker.main:main``.

They speak the real protocol through the real control thread. What one does is the name after
the colon in its consumer's ``handler``, as in ``standin:steady``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor import logs
from supervisor.protocol import Bye, Counted, Heartbeat, Start, WorkerFailed, pack
from supervisor.slot.restart import ExitCode
from supervisor.worker.pipe import Channel, Control, SupervisorLostError

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRY = "standins:main"


class StandInLoop:
    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.joined = False
        self.patient = True
        self.paused = False
        self.processed = 0
        self.handling_since: float | None = None
        self.behind: list[tuple[str, int, int]] = []
        self.speaks = threading.Event()
        self.speaks.set()

    def stop(self, now: bool = False) -> None:
        if now or self.patient:
            self.stopped.set()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def heartbeat(self) -> Heartbeat:
        self.speaks.wait()
        self.processed += not self.paused
        counter = [("standin_beats_total", {"pid": "any"}, float(self.processed))]
        gauge = [("standin_pid", {"pid": str(os.getpid())}, 1.0)]
        return Heartbeat(
            joined=self.joined,
            assigned=[("standin", 0)] if self.joined else [],
            in_flight=0,
            buffered=0,
            processed=self.processed,
            lag=0,
            oldest_handler_seconds=time.monotonic() - (self.handling_since or time.monotonic()),
            behind=self.behind,
            metrics=pack(
                [
                    ("standin_beats", "counter", "Heartbeats.", counter),
                    ("standin_pid", "gauge", "Whoever it is.", gauge),
                ]
            ),
        )


def main(fds: list[int]) -> int:
    """Run the behaviour that the Start frame names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=fds[0]), fds[1] if len(fds) > 1 else None)
    try:
        start = channel.first()
    except SupervisorLostError:
        return ExitCode.DONE
    if not isinstance(start, Start):
        channel.send(Bye(ExitCode.DONE))
        return ExitCode.DONE
    identity = start.identity
    fields = {"consumer": identity.consumer, "slot": identity.slot, "pid": os.getpid()}
    logs.configure(
        level=start.logging.level, fmt=start.logging.format, fields=fields, secrets=start.secrets
    )
    loop = StandInLoop()
    control = Control(channel, loop.heartbeat, start.drain_timeout)
    signal.signal(signal.SIGTERM, lambda *_: control.stop())
    control.start()
    behaviour = start.consumer["handler"].partition(":")[2]
    if behaviour == "counts_its_partitions" and start.partitions_per_worker is None:
        behaviour = "steady"
    elif start.consumer.get("partitions"):
        control.pinned = start
    code = globals()[behaviour](loop, control, channel)
    control.finish(code)
    return code


def steady(loop: StandInLoop, control: Control, _channel: Channel) -> int:
    """Assigned until it is told to stop."""
    loop.joined = True
    control.attach(loop)
    control.wake()
    loop.stopped.wait()
    return ExitCode.DONE


def slow_to_stop(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Assigned until it is told to stop, and a second more."""
    code = steady(loop, control, channel)
    time.sleep(1)
    return code


def crash(_loop: StandInLoop, _control: Control, channel: Channel) -> int:
    """Fails at once."""
    channel.send(WorkerFailed(kind="crash", message="RuntimeError: no database"))
    return ExitCode.CRASH


def misconfigured(_loop: StandInLoop, _control: Control, channel: Channel) -> int:
    """Can never work."""
    channel.send(WorkerFailed(kind="configuration", message="there is no module shop"))
    return ExitCode.CONFIGURATION


def stubborn(loop: StandInLoop, control: Control, _channel: Channel) -> int:
    """Assigned, and deaf to everything but SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loop.joined = True
    control.wake()
    while True:
        time.sleep(60)


def busy(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Does not stop before it must, and its main thread sees no signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loop.patient = False
    return steady(loop, control, channel)


def last_words(loop: StandInLoop, _control: Control, channel: Channel) -> int:
    """Dies with much to say still in the pipe."""
    heartbeat = loop.heartbeat()
    text = "x" * 150_000
    channel.send(replace(heartbeat, processed=4711, metrics=pack([("big", "gauge", text, [])])))
    os._exit(ExitCode.DONE)


def handles_one_for_ever(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Has a handler that does not return, and drains only when it must."""
    loop.handling_since = time.monotonic()
    loop.patient = False
    return steady(loop, control, channel)


def leaves_a_partition_where_it_is(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Works on, but for a partition that stands still."""
    loop.behind = [("standin", 3, 17)]
    return steady(loop, control, channel)


def keeps_the_lock(loop: StandInLoop, control: Control, _channel: Channel) -> int:
    """Once it is assigned, and there is a file "go", code in C keeps the interpreter's lock."""
    loop.joined = True
    control.wake()
    while not Path("go").exists():
        time.sleep(0.02)
    re.match("(a+)+$", "a" * 60 + "b")
    return ExitCode.DONE


def takes_all_memory(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Once there is a file "go", for the first of them that sees it."""
    loop.joined = True
    control.attach(loop)
    control.wake()
    go = Path("go")
    while not loop.stopped.wait(0.02):
        if go.exists():
            go.unlink()
            taken = [bytearray(b"x") * 2**22 for _ in range(1000)]
            return len(taken)
    return ExitCode.DONE


def silent_while_it_starts(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Falls silent at once, until there is a file called "assign" in its folder."""
    loop.speaks.clear()
    while not Path("assign").exists():
        time.sleep(0.02)
    loop.speaks.set()
    return steady(loop, control, channel)


def slow_to_start(loop: StandInLoop, control: Control, _channel: Channel) -> int:
    """Never gets an assignment, but stops when told."""
    control.attach(loop)
    loop.stopped.wait()
    return ExitCode.DONE


def assigned_when_told(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Gets its assignment once there is a file called "assign" in its folder."""
    while not Path("assign").exists():
        time.sleep(0.02)
    return steady(loop, control, channel)


def garbler(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Writes something that is no frame."""
    channel._pipe.sendall(b"hello?\n")
    return steady(loop, control, channel)


def ended_by_itself(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Its loop drains although nobody asked, and its process stays."""
    return _stays(loop, control, channel, control.drains)


def failed_and_stays(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Says that it has failed, and its process stays."""
    failed = WorkerFailed(kind="record", message="RecordError: orders/0")
    return _stays(loop, control, channel, lambda: channel.send(failed))


def said_farewell_and_stays(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Says its last words, and its process stays."""
    return _stays(loop, control, channel, lambda: channel.send(Bye(ExitCode.DONE)))


def _stays(loop: StandInLoop, control: Control, channel: Channel, tell: Callable[[], None]) -> int:
    loop.joined = True
    control.wake()
    tell()
    return stubborn(loop, control, channel)


def counts_its_partitions(loop: StandInLoop, control: Control, channel: Channel) -> int:
    """Says how many partitions the topic has, as the file "count" has it, and waits for its own."""
    told = 0

    def tell() -> int:
        nonlocal told
        if Path("count").exists() and (count := int(Path("count").read_text() or 0)) != told:
            channel.send(Counted(count))
            told = count
        return told

    while not control.stopping and not (tell() and control.pinned):
        time.sleep(0.02)
    control.attach(loop)
    loop.joined = True
    control.wake()
    while not loop.stopped.wait(0.02):
        tell()
    return ExitCode.DONE


MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>" + "x" * 300


def crash_with_markup(_loop: StandInLoop, _control: Control, channel: Channel) -> int:
    """Fails with a message that a browser would run if it took it for HTML."""
    channel.send(WorkerFailed(kind="crash", message=MARKUP))
    return ExitCode.CRASH
