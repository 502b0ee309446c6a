"""The rules of a consumer's keys, one with another. Pure.

Each takes the value of a key and, in `info`, those of the keys that are declared before it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from pydantic import ValidationInfo

    from supervisor.config.values import StartPosition

NEEDS = {
    "retry_delay": "max_retries",
    "retry_backoff": "max_retries",
    "retry_max_delay": "retry_backoff",
    "retry_jitter": "max_retries",
    "retry_on": "max_retries",
    "never_retry": "max_retries",
    "dead_letter_limit": "dead_letter_topic",
    "batch_timeout": "batch_size",
}
"""Keys that have no effect alone, and the key that each of them needs."""
SHORTEST_SILENCE = 2.0
"""Seconds; there is a heartbeat a second, so a shorter silence is none."""

Groups = tuple[tuple[int, ...], ...]


def check_needed(value: object, info: ValidationInfo) -> object:
    """Reject a key without the one that it needs."""
    needed = NEEDS[str(info.field_name)]
    if value is not None and needed in info.data and info.data[needed] is None:
        raise PydanticCustomError(
            "without_effect",
            "has no effect without {needed}",
            {"needed": needed, "hint": f"write {needed} too, or remove this"},
        )
    return value


def check_silence_timeout(value: float) -> float:
    """Reject a silence that lies between two heartbeats."""
    if 0 < value < SHORTEST_SILENCE:
        hint = f'write "{SHORTEST_SILENCE:g}s" or more; there is a heartbeat a second'
        raise PydanticCustomError("silence", "is too short", {"hint": hint})
    return value


def check_batch_size(value: int | None, info: ValidationInfo) -> int | None:
    """Reject batches where the messages of a key are to be handled in order."""
    if value is not None and info.data.get("ordering") == "key":
        hint = 'write ordering = "partition" or "unordered": a batch has many keys'
        raise PydanticCustomError("contradiction", 'contradicts ordering = "key"', {"hint": hint})
    return value


def check_never_retry(
    value: tuple[str, ...] | None, info: ValidationInfo
) -> tuple[str, ...] | None:
    """Reject exceptions that are also in retry_on."""
    both = sorted(set(value or ()) & set(info.data.get("retry_on") or ()))
    if both:
        context = {"names": ", ".join(both), "hint": "keep each exception in one of the two"}
        raise PydanticCustomError("contradiction", "contradicts retry_on: {names}", context)
    return value


def check_retry_max_delay(value: float | None, info: ValidationInfo) -> float | None:
    """Reject a longest delay that is shorter than the first."""
    if value is not None and value < (info.data.get("retry_delay") or 0):
        hint = "write the longest delay here"
        raise PydanticCustomError("cap", "is shorter than retry_delay", {"hint": hint})
    return value


def check_start_from(value: StartPosition | None, info: ValidationInfo) -> StartPosition | None:
    """Reject offsets of partitions that no worker has."""
    groups: Groups | None = info.data.get("partition_groups")
    if not isinstance(value, dict) or groups is None:
        return value
    pinned = {partition for group in groups for partition in group}
    others = sorted(value.keys() - pinned)
    if others:
        raise PydanticCustomError(
            "contradiction",
            "has partitions that are in no group of partition_groups: {names}",
            {"names": ", ".join(map(str, others)), "hint": "remove them, or add them to a group"},
        )
    return value


def check_partition_groups(value: Groups | None, info: ValidationInfo) -> Groups | None:
    """Reject groups beside workers, empty groups, and partitions in two groups."""
    if value is None:
        return None
    if info.data.get("workers") is not None:
        hint = (
            "keep workers if Kafka's group assigns the partitions, or partition_groups to pin "
            "them: one worker for each group"
        )
        raise PydanticCustomError("contradiction", "contradicts workers", {"hint": hint})
    if not value or not all(value):
        hint = "give each worker at least one partition"
        raise PydanticCustomError("empty", "has an empty group", {"hint": hint})
    counts = Counter(partition for group in value for partition in group)
    twice = sorted(partition for partition, count in counts.items() if count > 1)
    if twice:
        context = {"names": ", ".join(map(str, twice)), "hint": "name each partition once"}
        message = "assigns a partition to two workers: {names}"
        raise PydanticCustomError("overlap", message, context)
    return value


def check_partitions_per_worker(value: int | None, info: ValidationInfo) -> int | None:
    """Reject partitions_per_worker beside another key that says how many workers there are."""
    for other in ("workers", "partition_groups"):
        if value is not None and info.data.get(other) is not None:
            hint = "keep one of the two: each says how many workers there are"
            raise PydanticCustomError(
                "contradiction", "contradicts {other}", {"other": other, "hint": hint}
            )
    return value
