"""The most specific counter of out-of-memory kills is read."""

from __future__ import annotations

import pytest

from supervisor.process.oom_counter import find_counter, read_kills

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

    path = find_counter(root)

    assert path == root.joinpath(*where.split("__"))
    assert read_kills(path) == 4


def test_where_no_file_counts_there_is_no_counter(machine):
    assert find_counter(machine("0::/\n")) is None
    assert read_kills(None) is None
