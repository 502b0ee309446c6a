"""Each kill that the kernel counts explains the SIGKILL of one worker."""

from __future__ import annotations

import pytest

from supervisor.process.oom import RECENT, OomKills


def test_where_nothing_counts_nothing_is_known():
    kills = OomKills(lambda: None)
    kills.look(1.0)
    assert not kills.explains(2.0)


@pytest.fixture
def kernel():
    """The kernel's count, and an `OomKills` that reads it."""

    class Kernel:
        killed = 7

        def __init__(self):
            self.seen = OomKills(lambda: self.killed)

    return Kernel()


def test_what_was_counted_before_the_start_explains_nothing(kernel):
    assert not kernel.seen.explains(1.0)


def test_each_kill_explains_one_end(kernel):
    kernel.killed += 2
    assert [kernel.seen.explains(1.0) for _ in range(3)] == [True, True, False]


def test_a_kill_that_was_noticed_before_the_end_was_heard_of_explains_it(kernel):
    kernel.killed += 1
    kernel.seen.look(10.0)
    assert kernel.seen.explains(10.0 + RECENT)


def test_a_kill_that_no_end_followed_was_another_process(kernel):
    kernel.killed += 1
    kernel.seen.look(10.0)
    assert not kernel.seen.explains(10.1 + RECENT)


def test_a_count_that_starts_anew_explains_nothing_until_it_grows(kernel):
    kernel.killed = 0
    assert not kernel.seen.explains(1.0)
    kernel.killed = 1
    assert kernel.seen.explains(1.1)
