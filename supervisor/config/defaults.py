"""[defaults]: what holds for every consumer that does not say otherwise. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import create_model

from supervisor.config.consumer import NEEDS, PINNED, ConsumerTable
from supervisor.config.values import Table

OWN = frozenset({"model", "handler", "group_id", "partition_groups", "kafka"})
"""The keys of a consumer that no two share. What all consumers have of [kafka] is [kafka]."""

if TYPE_CHECKING:

    class DefaultsTable(Table):
        """The other keys of a consumer, with its types but without its rules between keys."""

else:
    # Made from the consumer's table, so that no key can be forgotten. The rules between keys
    # hold where the keys come together: in each consumer.
    DefaultsTable = create_model(
        "DefaultsTable",
        __base__=Table,
        __doc__="[defaults]: options of all consumers; a consumer's own value wins.",
        __module__=__name__,
        **{
            name: (field.annotation, field)
            for name, field in ConsumerTable.model_fields.items()
            if name not in OWN
        },
    )


def inherited(table: object, defaults: DefaultsTable) -> object:
    """A consumer's table with what it takes over from [defaults].

    A default that has no effect in this consumer is not taken over: the number of workers where
    partitions are pinned, the delay of retries where there are none.

    Args:
        table: As it is written, or a ConsumerTable. Anything else is given back as it is.
        defaults: What holds for all.
    """
    common = defaults.model_dump(exclude_unset=True)
    own = table.model_dump(exclude_unset=True) if isinstance(table, ConsumerTable) else table
    if not isinstance(own, dict) or not common:
        return table
    taken = {key: value for key, value in common.items() if key not in own}
    if own.keys() & {"workers", *PINNED}:
        for key in ("workers", *PINNED):
            taken.pop(key, None)
    merged = _merged_restart(own, common) | taken
    for key, needed in NEEDS.items():
        if key in taken and needed not in merged:
            del merged[key]
    return merged


def _merged_restart(own: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """The consumer's table, its own restart policy completed key by key."""
    mine, theirs = own.get("restart"), common.get("restart")
    if not isinstance(mine, dict) or theirs is None:
        return own
    return {**own, "restart": {**theirs, **mine}}
