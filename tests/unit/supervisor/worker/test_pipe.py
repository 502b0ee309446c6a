"""A worker notices that its supervisor is lost, whichever way."""

from __future__ import annotations

import socket

import pytest

from supervisor.protocol import Drain, WorkerFailed, encode
from supervisor.worker import pipe as control
from supervisor.worker.pipe import Channel, SupervisorLostError


@pytest.fixture
def pipe(monkeypatch):
    monkeypatch.setattr(control, "SEND_TIMEOUT", 0.1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_supervisor_that_does_not_read_counts_as_lost_once(pipe):
    channel = Channel(pipe[0], None)
    channel.send(WorkerFailed(kind="crash", message="x" * 4_000_000))
    with pytest.raises(SupervisorLostError, match="does not read"):
        channel.receive(10)
    assert channel.receive(0) == []


def test_a_supervisor_that_reads_is_heard(pipe):
    channel = Channel(pipe[0], None)
    channel.send(WorkerFailed(kind="crash", message="x"))
    pipe[1].sendall(encode(Drain()))
    assert channel.receive(10) == [Drain()]


def test_a_closed_pipe_counts_as_lost_once(pipe):
    channel = Channel(pipe[0], None)
    pipe[1].close()
    with pytest.raises(SupervisorLostError):
        channel.receive(10)
    channel.send(Drain())
    assert channel.receive(0) == []
