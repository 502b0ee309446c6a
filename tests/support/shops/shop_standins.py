"""A model and handlers that `check` accepts; the stand-ins of the handlers' names run instead."""

from __future__ import annotations

from flowodm import FlowBaseModel


class In(FlowBaseModel):
    class Settings:
        topic = "standin"
        consumer_group = "standin"

    n: int


def steady(message: In) -> None:
    """Stand for standins.steady."""


def slow_to_stop(message: In) -> None:
    """Stand for standins.slow_to_stop."""
