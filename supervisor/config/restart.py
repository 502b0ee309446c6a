"""[consumers.NAME.restart]: how a worker is restarted after it ended."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from supervisor.config.values import PositiveSeconds, Table, Whole
from supervisor.slot.restart import RestartMode, RestartPolicy


class RestartTable(Table):
    """[consumers.NAME.restart]: how a worker is restarted after it ended."""

    policy: RestartMode = Field(
        default=RestartMode.ALWAYS,
        description='When to restart: "always", "on_failure" (not after a clean end) or "never". '
        "A configuration error is never followed by a restart.",
    )
    initial: PositiveSeconds = Field(
        default=0.1, description="Delay before the first restart.", examples=["100ms"]
    )
    factor: float = Field(
        default=2.0,
        ge=1,
        allow_inf_nan=False,
        description="Factor by which each further delay in a row is longer than the one before.",
    )
    cap: PositiveSeconds = Field(
        default=30.0, description="Longest delay, jitter included.", examples=["30s"]
    )
    jitter: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of the delay by which it varies at random, up and down: 0.2 is ±20 %.",
    )
    limit: Annotated[Whole, Field(ge=0)] = Field(
        default=10,
        description="Failures within window that are tolerated; after one more the worker has "
        "failed for good. 0: no limit. It is not a failure if a worker could not be forked, or "
        "was fenced.",
    )
    window: PositiveSeconds = Field(
        default=300.0, description="Time over which failures are counted.", examples=["5m"]
    )
    stable: PositiveSeconds = Field(
        default=60.0,
        description="Uptime after which the delay starts from initial again.",
        examples=["1m"],
    )

    @field_validator("cap")
    @classmethod
    def _cap(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("initial", value):
            raise PydanticCustomError(
                "cap", "is shorter than initial", {"hint": "write the longest delay here"}
            )
        return value

    def restart_policy(self) -> RestartPolicy:
        """Convert the table to the policy that restart decisions take."""
        values = self.model_dump(exclude={"policy"})
        return RestartPolicy(mode=self.policy, **values)
