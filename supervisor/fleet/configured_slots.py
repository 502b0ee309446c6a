"""The slots that a configuration asks for, and the Start frame of each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from supervisor import redaction
from supervisor.fleet.member import Member
from supervisor.fleet.slot_spec import SlotKey, SlotSpec
from supervisor.protocol import Identity, Logging, Start
from supervisor.slot.machine import SlotPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervisor.config.config import SupervisorConfig
    from supervisor.config.consumer import ConsumerTable
    from supervisor.config.topic_size import TopicSize
    from supervisor.slot.machine import Slot


def slot_specs(
    config: SupervisorConfig,
    instance_id: str,
    logging: Logging,
    scaled: Mapping[str, int] | None = None,
    sizes: Mapping[str, TopicSize] | None = None,
) -> dict[SlotKey, SlotSpec]:
    """List every slot that a configuration asks for, and what it is to run.

    Args:
        config: The configuration.
        instance_id: The supervisor's name.
        logging: How workers log.
        scaled: Number of workers of consumers that were scaled, in place of the configuration's.
        sizes: Number of partitions of the topics whose partitions are pinned by size.
    """
    specs: dict[SlotKey, SlotSpec] = {}
    for name, table in config.consumers.items():
        size = (sizes or {}).get(name)
        policy = _policy(config, name)
        for index, partitions in enumerate(_partitions(table, (scaled or {}).get(name), size)):
            identity = Identity(instance_id, name, index)
            start = start_frame(config, identity, partitions, logging=logging, size=size)
            specs[SlotKey(name, index)] = SlotSpec(start, policy)
    return specs


def configured_members(
    config: SupervisorConfig, instance_id: str, logging: Logging, slot: Slot
) -> list[Member]:
    """Make a member for every slot that a configuration asks for, in the given state."""
    specs = slot_specs(config, instance_id, logging)
    return [
        Member(key.consumer, key.index, start=spec.start, policy=spec.policy, slot=slot)
        for key, spec in specs.items()
    ]


def start_frame(
    config: SupervisorConfig,
    identity: Identity,
    partitions: tuple[int, ...] | None,
    *,
    logging: Logging,
    size: TopicSize | None = None,
) -> Start:
    """Make the frame that tells a worker what to run.

    Args:
        config: The configuration.
        identity: Which worker it is.
        partitions: Its pinned partitions; None if the consumer group assigns them.
        logging: How it logs.
        size: Number of partitions of its topic, if they are pinned by size.
    """
    table = config.consumers[identity.consumer]
    drain_timeout = config.drain_timeout_of(identity.consumer)
    consumer = {**table.loop_options(), "drain_timeout": drain_timeout}
    if partitions is not None:
        consumer["partitions"] = list(partitions)
        begin = consumer.get("start_from")
        if size is not None and (begin := size.begin(begin, partitions)) is not None:
            consumer["start_from"] = begin
    elif table.membership == "static":
        consumer["group_instance_id"] = identity.member
    return Start(
        identity=identity,
        consumer=consumer,
        kafka=config.kafka_of(identity.consumer).revealed(),
        secrets=[*config.secrets(), *redaction.of_environment(os.environ)],
        logging=logging,
        drain_timeout=drain_timeout,
        partitions_per_worker=table.partitions_per_worker if identity.slot == 0 else None,
    )


def _policy(config: SupervisorConfig, consumer: str) -> SlotPolicy:
    table = config.consumers[consumer]
    return SlotPolicy(
        restart=table.restart.restart_policy(),
        drain_timeout=config.drain_timeout_of(consumer),
        kill_delay=config.supervisor.kill_delay,
        dump_delay=table.dump_delay,
        limits=table.limits(),
        lifespan=table.lifespan(),
    )


def _partitions(
    table: ConsumerTable, workers: int | None, size: TopicSize | None
) -> Sequence[tuple[int, ...] | None]:
    """List the pinned partitions of each slot; None where the group assigns them."""
    if workers is not None:
        return [None] * workers
    return table.slots(None if size is None else size.partitions)
