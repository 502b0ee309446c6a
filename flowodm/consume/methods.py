"""The methods of a model class that take messages without a loop."""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from pydantic import BaseModel

from flowodm.connection import get_kafka_connection
from flowodm.consume.iterators import AsyncMessages, IterationOptions, Messages, atake, take
from flowodm.consume.steps import Poison
from flowodm.exceptions import SettingsError
from flowodm.model_settings import settings_of
from flowodm.settings import BaseSettings

if TYPE_CHECKING:
    from typing import Self

    from confluent_kafka import Consumer

    from flowodm.connection.async_clients import AsyncConsumer

M = TypeVar("M", bound=BaseModel)

OnPoison: TypeAlias = Literal["raise", "skip"]


class ConsumingModel(BaseModel):
    """The consuming half of :class:`flowodm.model.FlowBaseModel`.

    Every call commits the messages that it returned, and only those, whether or not the profile
    turns auto-commit on.
    """

    @classmethod
    def get_consumer(
        cls, group_id: str | None = None, settings: BaseSettings | None = None
    ) -> Consumer:
        """Return the consumer of this class; override it to use another one.

        Args:
            group_id: The group to join; by default that of the class's Settings.
            settings: The profile; BaseSettings by default.

        Raises:
            SettingsError: Neither ``group_id`` nor the class's Settings name a group.
            ConfigurationError: See :meth:`flowodm.connection.KafkaConnection.get_consumer`.
        """
        group, topics = cls._group_and_topics(group_id)
        return get_kafka_connection().get_consumer(group, topics, settings)

    @classmethod
    async def get_async_consumer(
        cls, group_id: str | None = None, settings: BaseSettings | None = None
    ) -> AsyncConsumer:
        """Return the consumer of the ``aconsume`` methods; override it to use another one.

        Args:
            group_id: See :meth:`get_consumer`.
            settings: See :meth:`get_consumer`.

        Raises:
            SettingsError, ConfigurationError: See :meth:`get_consumer`.
        """
        group, topics = cls._group_and_topics(group_id)
        return await get_kafka_connection().get_async_consumer(group, topics, settings)

    @classmethod
    def consume_one(
        cls,
        timeout: float = 1.0,
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        on_poison: OnPoison = "raise",
    ) -> Self | None:
        """Take the next message of the topic and commit it.

        The consumer stays in its group between calls; ``close_connection()`` or the end of the
        process closes it. Joining the group takes a few seconds, so the first calls may return
        None. Tombstones are skipped.

        Args:
            timeout: Seconds to wait for a message; negative: no limit.
            group_id: See :meth:`get_consumer`.
            settings: See :meth:`get_consumer`; its auto-commit is turned off.
            on_poison: What to do with a record that is not a message of this class: ``raise``,
                or ``skip``, which logs the record's place and continues.

        Returns:
            The message; None if there is none in time.

        Raises:
            DeserializationError: The next record is not a message of this class; the error has
                the record's place. The next call continues behind it. Its offset is only
                committed together with that of a later message.
            RegistryUnavailableError, SchemaRegistryError: The record's schema cannot be fetched;
                the next call reads the same record.
            ConsumerError, TopicError: The consumer cannot go on, or the commit failed; after a
                failed commit the next call reads the same record.
            SettingsError, ConfigurationError: See :meth:`get_consumer`.
        """
        messages = cls.consume_batch(1, timeout, group_id, settings=settings, on_poison=on_poison)
        return messages[0] if messages else None

    @classmethod
    def consume_batch(
        cls,
        max_messages: int,
        timeout: float = 1.0,
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        on_poison: OnPoison = "raise",
    ) -> list[Self]:
        """Take the next messages of the topic and commit them together.

        A record that fails behind other ones ends the batch in front of it; the next call begins
        with that record, and raises. All else is as in :meth:`consume_one`.

        Args:
            max_messages: The number of messages at which the call returns.
            timeout: Seconds for the whole call, which then returns the messages that it has;
                negative: no limit.
            group_id: See :meth:`get_consumer`.
            settings: See :meth:`get_consumer`; its auto-commit is turned off.
            on_poison: See :meth:`consume_one`.

        Returns:
            The messages, in order within each partition; empty if there are none in time.

        Raises:
            ValueError: ``max_messages`` is negative, or ``on_poison`` has no such value.
            FlowODMError: See :meth:`consume_one`.
        """
        _check_max_messages(max_messages)
        poison, seconds = _poison(on_poison), _seconds(timeout)
        consumer = cls.get_consumer(group_id, _without_auto_commit(settings))
        return take(consumer, cls, max_messages, timeout=seconds, poison=poison)

    @classmethod
    def consume_iter(
        cls,
        timeout: float | None = None,
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        max_messages: int | None = None,
        on_poison: OnPoison = "raise",
    ) -> Messages[Self]:
        """Iterate over the messages of the topic; commit each after the next is asked for.

        ::

            with OrderEvent.consume_iter(max_messages=100, timeout=5.0) as orders:
                for order in orders:
                    ship(order)

        The iteration has a consumer to itself, and closes it at its end.
        :class:`~flowodm.consume.iterators.Messages` describes what is committed then. Without
        the ``with``, the message at which the loop was left is delivered again.

        Args:
            timeout: Seconds without a message after which the iteration ends; None: no limit.
                Joining the group does not count, unless it takes longer than 30 s. The first
                message after joining has at least a second.
            group_id: See :meth:`get_consumer`.
            settings: See :meth:`get_consumer`; its auto-commit is turned off.
            max_messages: The number of messages after which the iteration ends; None: no limit.
            on_poison: See :meth:`consume_one`.

        Raises:
            ValueError: ``max_messages`` is negative, or ``on_poison`` has no such value.
            DeserializationError: The next record is not a message of this class. The iteration
                ends, and the next one begins with the same record.
            FlowODMError: See :meth:`consume_one`; the iteration ends.
        """
        options = _iteration_options(cls, max_messages, timeout, on_poison=on_poison)
        profile = _without_auto_commit(settings)
        return Messages(options, lambda: cls.get_consumer(group_id, profile))

    @classmethod
    async def aconsume_one(
        cls,
        timeout: float = 1.0,  # noqa: ASYNC109 - its end is no error
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        on_poison: OnPoison = "raise",
    ) -> Self | None:
        """Take the next message without blocking the event loop; see :meth:`consume_one`.

        A cancelled call commits nothing: the next call returns its message.
        """
        messages = await cls.aconsume_batch(
            1, timeout, group_id, settings=settings, on_poison=on_poison
        )
        return messages[0] if messages else None

    @classmethod
    async def aconsume_batch(
        cls,
        max_messages: int,
        timeout: float = 1.0,  # noqa: ASYNC109 - its end is no error
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        on_poison: OnPoison = "raise",
    ) -> list[Self]:
        """Take the next messages without blocking the event loop; see :meth:`consume_batch`.

        A cancelled call commits nothing: the next call returns its messages.
        """
        _check_max_messages(max_messages)
        poison, seconds = _poison(on_poison), _seconds(timeout)
        consumer = await cls.get_async_consumer(group_id, _without_auto_commit(settings))
        return await atake(consumer, cls, max_messages, timeout=seconds, poison=poison)

    @classmethod
    def aconsume_iter(
        cls,
        timeout: float | None = None,
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        max_messages: int | None = None,
        on_poison: OnPoison = "raise",
    ) -> AsyncMessages[Self]:
        """Iterate with ``async for`` and ``async with``; see :meth:`consume_iter`."""
        options = _iteration_options(cls, max_messages, timeout, on_poison=on_poison)
        profile = _without_auto_commit(settings)
        return AsyncMessages(options, lambda: cls.get_async_consumer(group_id, profile))

    @classmethod
    def _group_and_topics(cls, group_id: str | None) -> tuple[str, list[str]]:
        model_settings = settings_of(cls)
        group = group_id or model_settings.consumer_group
        if not group:
            raise SettingsError(
                f"{cls.__name__} has no consumer group: give group_id, or set "
                "consumer_group in its Settings"
            )
        return group, [model_settings.topic]


def _iteration_options(
    model: type[M], max_messages: int | None, timeout: float | None, on_poison: str
) -> IterationOptions[M]:
    _check_max_messages(max_messages)
    return IterationOptions(
        model=model,
        max_messages=max_messages,
        timeout=None if timeout is None or timeout < 0 else timeout,
        poison=_poison(on_poison),
    )


def _check_max_messages(max_messages: int | None) -> None:
    if max_messages is not None and max_messages < 0:
        raise ValueError(f"max_messages={max_messages} must not be negative")


def _seconds(timeout: float) -> float:
    return math.inf if timeout < 0 else timeout


def _poison(word: str) -> Poison:
    try:
        return Poison(word)
    except ValueError:
        raise ValueError(f"on_poison={word!r} must be 'raise' or 'skip'") from None


def _without_auto_commit(settings: BaseSettings | None) -> BaseSettings:
    """Return the profile with auto-commit turned off; extra_config wins over the field."""
    profile = copy(settings) if settings is not None else BaseSettings()
    profile.extra_config = {**profile.extra_config, "enable.auto.commit": False}
    return profile
