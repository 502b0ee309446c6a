"""A daemon that runs fleets of flowodm consumer loops, also inside another program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor.config.config import SupervisorConfig
    from supervisor.config.problems import ConfigError
    from supervisor.config.toml import load_config
    from supervisor.daemon import StartError, Supervisor
    from supervisor.instrumentation.snapshot import Snapshot
    from supervisor.report import ExitStatus, RunReport

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

_MODULES = {
    "ConfigError": "supervisor.config.problems",
    "ExitStatus": "supervisor.report",
    "RunReport": "supervisor.report",
    "Snapshot": "supervisor.instrumentation.snapshot",
    "StartError": "supervisor.daemon",
    "Supervisor": "supervisor.daemon",
    "SupervisorConfig": "supervisor.config.config",
    "load_config": "supervisor.config.toml",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: workers import this package too and need none."""
    from importlib import import_module  # noqa: PLC0415 - as lazy as the rest

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
