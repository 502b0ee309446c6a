"""What the options of a loop mean for the engine and for the Kafka client."""

from __future__ import annotations

import math
from typing import Final

from flowodm.connection import get_kafka_connection
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import BatchRule
from flowodm.consumer.engine.retry import FailurePolicy, OnFailure
from flowodm.consumer.engine.rules import Rules
from flowodm.consumer.engine.start import parse
from flowodm.consumer.kafka.source import Source
from flowodm.consumer.options.loop_options import LoopOptions
from flowodm.exceptions import ConfigurationError
from flowodm.model import settings_of

METADATA_MS: Final = 30_000
"""How soon a member notices that its topic was created or has grown.

librdkafka's own 5 minutes are long for a consumer that was deployed before its topic.
"""
FETCH_WAIT_MS: Final = 500
"""librdkafka's own ``fetch.wait.max.ms``."""
HEARTBEAT: Final = "heartbeat.interval.ms"
HEARTBEAT_MS: Final = 3000
"""The longest heartbeat interval that a profile sets: Kafka's default.

A member hears of a rebalance in the answer to its next heartbeat, and the rebalance waits for it:
with the 60 s of LongRunningSettings every join or leave would stop the group for up to a minute.
librdkafka sends heartbeats from a thread of its own, so a long interval saves a loop nothing. A
program that wants one sets the property itself (extra_config or consumer_config).
"""


class Options(LoopOptions):
    """The checked options of a loop, and what follows from them."""

    __slots__ = ()

    @property
    def group(self) -> str:
        """The consumer group.

        Raises:
            ConfigurationError: Neither the loop nor the model names one.
        """
        group = self.group_id or settings_of(self.model).consumer_group
        if not group:
            raise ConfigurationError(
                f"{self.model.__name__} has no consumer group: set consumer_group in its inner "
                "class Settings, or pass group_id"
            )
        return group

    def rules(self, source: Source) -> Rules:
        """Make the engine's part; the poll interval is the one that librdkafka gets."""
        poll_interval = int(source.config["max.poll.interval.ms"]) / 1000
        if source.partitions is not None:
            poll_interval = math.inf  # pinned partitions are never taken away
        batch = None
        if self.batch_size is not None:
            batch = BatchRule(self.batch_size, self.batch_timeout)
        return Rules(
            strategy=self.commit_strategy,
            ordering=self.ordering,
            failures=self._failure_policy(),
            max_concurrent=self.max_concurrent,
            fetch_size=self.settings.max_poll_records,
            fetch_wait=int(source.config.get("fetch.wait.max.ms", FETCH_WAIT_MS)) / 1000,
            commit_interval=self.commit_interval,
            commit_ahead=self.commit_ahead,
            max_poll_interval=poll_interval,
            batch=batch,
            dead_letter_limit=self.dead_letter_limit,
        )

    def _failure_policy(self) -> FailurePolicy:
        on_failure = self.on_failure
        if on_failure is None:
            before = self.commit_strategy is CommitStrategy.BEFORE_PROCESSING
            on_failure = OnFailure.SKIP if before else OnFailure.STOP
        return FailurePolicy(
            max_retries=self.max_retries,
            retry_delay=self.retry_delay,
            on_failure=on_failure,
            error_handler=self.error_handler is not None,
            dead_letters=self.dead_letter_topic is not None,
            backoff=self.retry_backoff,
            max_delay=self.retry_max_delay,
            jitter=self.retry_jitter,
            retry_on=self.retry_on,
            never_retry=self.never_retry,
        )

    def source(self) -> Source:
        """Make the poller's part, with the process's connection as it is now."""
        connection = get_kafka_connection()
        config = connection.consumer_config(self.group, self.settings, self.consumer_config)
        config.setdefault("topic.metadata.refresh.interval.ms", METADATA_MS)
        config["enable.auto.commit"] = False
        config["enable.auto.offset.store"] = False
        properties_of_user = self.settings.extra_config.keys() | self.consumer_config.keys()
        if HEARTBEAT in config and HEARTBEAT not in properties_of_user:
            config[HEARTBEAT] = min(config[HEARTBEAT], HEARTBEAT_MS)
        if self.group_instance_id is not None:
            config["group.instance.id"] = self.group_instance_id
        return Source(
            config=config,
            topic=settings_of(self.model).topic,
            partitions=self.partitions,
            fetch_size=self.settings.max_poll_records,
            poll_timeout=self.poll_timeout,
            revoke_patience=min(self.drain_timeout, int(config["max.poll.interval.ms"]) / 2000),
            start=None if self.start_from is None else parse(self.start_from),
        )
