"""A daemon that runs fleets of flowodm consumer loops, also inside another program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor.config import SupervisorConfig
    from supervisor.daemon import StartError, Supervisor
    from supervisor.report import ExitStatus, RunReport
    from supervisor.snapshot import Snapshot
    from supervisor.toml import ConfigError, load_config

__all__ = [
    "ConfigError",
    "ExitStatus",
    "RunReport",
    "Snapshot",
    "StartError",
    "Supervisor",
    "SupervisorConfig",
    "load_config",
]

_WHERE = {
    "ConfigError": "supervisor.toml",
    "ExitStatus": "supervisor.report",
    "RunReport": "supervisor.report",
    "Snapshot": "supervisor.snapshot",
    "StartError": "supervisor.daemon",
    "Supervisor": "supervisor.daemon",
    "SupervisorConfig": "supervisor.config",
    "load_config": "supervisor.toml",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: workers import this package too and need none of it."""
    from importlib import import_module  # noqa: PLC0415 - as lazy as the rest

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
