"""Whether a SIGKILL was the kernel's, for want of memory."""

from __future__ import annotations

import pytest

from supervisor.process.oom import RECENT, OomKills, counter, kills_in

EVENTS = "low 0\nhigh 3\nmax 17\noom 2\noom_kill {}\noom_group_kill 0\n"


@pytest.fixture
def machine(tmp_path):
    """``machine(cgroups, **files)``: a root with these files, "/" written as "__"."""

    def make(cgroups="", **files):
        for name, text in {"proc__self__cgroup": cgroups, **files}.items():
            path = tmp_path.joinpath(*name.split("__"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("cgroups", "where"),
    [
        ("0::/system.slice/fleet\n", "sys__fs__cgroup__system.slice__fleet__memory.events"),
        ("0::/../the/hosts/path\n", "sys__fs__cgroup__memory.events"),
        (
            "9:pids:/a\n4:memory:/docker/x\n0::/\n",
            "sys__fs__cgroup__memory__docker__x__memory.oom_control",
        ),
        ("3:cpu,memory:/\n", "sys__fs__cgroup__cpu,memory__memory.oom_control"),
        ("0::/\n", "proc__vmstat"),
        ("", "proc__vmstat"),
    ],
)
def test_the_own_cgroup_counts_or_else_the_machine(machine, cgroups, where):
    root = machine(cgroups, **{"proc__vmstat": EVENTS.format(1), where: EVENTS.format(4)})

    path = counter(root)

    assert path == root.joinpath(*where.split("__"))
    assert kills_in(path) == 4


def test_where_nothing_counts_nothing_is_known(machine):
    assert counter(machine("0::/\n")) is None
    kills = OomKills(lambda: None)
    kills.look(1.0)
    assert not kills.explains(2.0)


@pytest.fixture
def kernel():
    """Its count, and who looks at it."""

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
