"""The settings profiles by their short names. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from supervisor.config.values import is_reference

PROFILES = {
    "base": "BaseSettings",
    "batch": "BatchSettings",
    "long_running": "LongRunningSettings",
    "real_time": "RealTimeSettings",
    "high_throughput": "HighThroughputSettings",
    "reliable": "ReliableSettings",
}
"""Short names of the profiles in flowodm.settings, and their classes."""


def _profile(value: str) -> str:
    if value in PROFILES or is_reference(value):
        return value
    names = ", ".join(f'"{name}"' for name in PROFILES)
    hint = f'write {names}, or "module:name"'
    raise PydanticCustomError("profile", "is not a settings profile", {"hint": hint})


ProfileName = Annotated[str, AfterValidator(_profile)]
"""A short name, or the user's own settings: "package.module:name"."""
