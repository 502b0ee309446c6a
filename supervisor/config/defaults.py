"""[defaults]: keys of all consumers, and how a consumer inherits them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import create_model

from supervisor.config.consumer import PINNED, ConsumerTable
from supervisor.config.consumer_rules import NEEDS
from supervisor.config.values import Table

OWN = frozenset({"model", "handler", "group_id", "partition_groups", "kafka"})
"""The keys of a consumer that no two share. [kafka] itself is what they share of Kafka."""

if TYPE_CHECKING:

    class DefaultsTable(Table):
        """The other keys of a consumer, with their types but without the rules between keys."""

else:
    # Made from the consumer's table, so that no key can be forgotten. The rules between keys
    # hold where the keys come together: in each consumer.
    DefaultsTable = create_model(
        "DefaultsTable",
        __base__=Table,
        __doc__="[defaults]: keys of all consumers; a consumer's own value wins.",
        __module__=__name__,
        **{
            name: (field.annotation, field)
            for name, field in ConsumerTable.model_fields.items()
            if name not in OWN
        },
    )


def inherited(table: object, defaults: DefaultsTable) -> object:
    """Complete a consumer's table by the keys that it inherits from [defaults].

    A default that has no effect in this consumer is not inherited: the number of workers where
    partitions are pinned, the delay of retries where there are none.

    Args:
        table: As it is written, or a ConsumerTable. Anything else is returned as it is.
        defaults: The keys of all consumers.
    """
    common = defaults.model_dump(exclude_unset=True)
    written = table.model_dump(exclude_unset=True) if isinstance(table, ConsumerTable) else table
    if not isinstance(written, dict) or not common:
        return table
    merged = _inheritable(written, common) | _with_restart(written, common)
    for key, needed in NEEDS.items():
        if key in merged and key not in written and needed not in merged:
            del merged[key]
    return merged


def _inheritable(written: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults that the consumer neither has itself nor contradicts."""
    excluded = set(written)
    workers = {"workers", *PINNED}
    if excluded & workers:  # each of them says how many workers there are
        excluded |= workers
    return {key: value for key, value in common.items() if key not in excluded}


def _with_restart(written: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """Return the consumer's table, with its restart policy completed key by key."""
    mine, theirs = written.get("restart"), common.get("restart")
    if not isinstance(mine, dict) or theirs is None:
        return written
    return {**written, "restart": {**theirs, **mine}}
