"""What a model class does to take messages without a loop."""

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

    Every call commits what it returned and only that, whatever the profile says of auto-commit.
    """

    @classmethod
    def get_consumer(
        cls, group_id: str | None = None, settings: BaseSettings | None = None
    ) -> Consumer:
        """The consumer that this class takes messages from; override it to use another.

        Args:
            group_id: The group to join; by default that of the class's Settings.
            settings: The profile; BaseSettings by default.

        Raises:
            SettingsError: Neither says which group.
            ConfigurationError: See :meth:`flowodm.connection.KafkaConnection.get_consumer`.
        """
        group, topics = cls._group_and_topics(group_id)
        return get_kafka_connection().get_consumer(group, topics, settings)

    @classmethod
    async def get_async_consumer(
        cls, group_id: str | None = None, settings: BaseSettings | None = None
    ) -> AsyncConsumer:
        """The consumer that the calls with an ``a`` use; override it to use another.

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

        The consumer stays in its group between calls; ``close_connection()`` or the program's
        end closes it. Joining takes a few seconds, so that the first calls may find nothing.
        Tombstones are passed over.

        Args:
            timeout: Seconds to wait for a message; negative: no limit.
            group_id: See :meth:`get_consumer`.
            settings: See :meth:`get_consumer`; its auto-commit is turned off.
            on_poison: What becomes of a record that is no message of this class: ``raise``, or
                ``skip``, which logs where it is and goes on.

        Returns:
            The message, or None if none came in time.

        Raises:
            DeserializationError: The next record is no message of this class; says where it is.
                It is not committed by itself, and the next call goes on after it.
            RegistryUnavailableError, SchemaRegistryError: The record's schema cannot be had; the
                next call gets the same record.
            ConsumerError, TopicError: The consumer cannot go on, or could not commit; in the
                latter case the next call gets the same record.
            SettingsError, ConfigurationError: See :meth:`get_consumer`.
        """
        found = cls.consume_batch(1, timeout, group_id, settings, on_poison=on_poison)
        return found[0] if found else None

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

        As :meth:`consume_one` otherwise. A record that fails behind others ends the batch in
        front of it; the next call begins with it, and raises.

        Args:
            max_messages: Return as soon as there are so many.
            timeout: Seconds for the whole call, after which it returns what has come; negative:
                no limit.
            group_id: See :meth:`get_consumer`.
            settings: See :meth:`get_consumer`; its auto-commit is turned off.
            on_poison: See :meth:`consume_one`.

        Returns:
            The messages, in order within each partition; empty if none came in time.

        Raises:
            ValueError: ``max_messages`` is negative, or ``on_poison`` no such word.
            FlowODMError: As :meth:`consume_one` raises it.
        """
        _check(max_messages)
        poison, seconds = _poison(on_poison), _limit(timeout)
        consumer = cls.get_consumer(group_id, _committing_nothing(settings))
        return take(consumer, cls, max_messages, seconds, poison)

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
        """Iterate over the messages of the topic, and commit each once the next is asked for.

        ::

            with OrderEvent.consume_iter(max_messages=100, timeout=5.0) as orders:
                for order in orders:
                    ship(order)

        The iteration has a consumer of its own and closes it when it ends, in whatever way. See
        :class:`~flowodm.consume.iterators.Messages` for what is committed then; without the
        ``with``, the message at which the loop was left comes again.

        Args:
            timeout: Seconds without a message after which it ends; None: it never does. Joining
                the group does not count, unless it takes longer than 30 s; the first message
                after that gets a second at least.
            group_id: See :meth:`get_consumer`.
            settings: See :meth:`get_consumer`; its auto-commit is turned off.
            max_messages: It ends after so many; None: there is no limit.
            on_poison: See :meth:`consume_one`.

        Raises:
            ValueError: ``max_messages`` is negative, or ``on_poison`` no such word.
            DeserializationError: The next record is no message of this class. That ends the
                iteration, and the next one begins with it again.
            FlowODMError: As :meth:`consume_one` raises it; that ends the iteration too.
        """
        options = _iteration_options(cls, max_messages, timeout, on_poison)
        profile = _committing_nothing(settings)
        return Messages(options, lambda: cls.get_consumer(group_id, profile))

    @classmethod
    async def aconsume_one(
        cls,
        timeout: float = 1.0,  # noqa: ASYNC109 - as consume_one; its end is no error
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        on_poison: OnPoison = "raise",
    ) -> Self | None:
        """As :meth:`consume_one`, without blocking the event loop.

        A call that is cancelled commits nothing: its message comes with the next one.
        """
        found = await cls.aconsume_batch(1, timeout, group_id, settings, on_poison=on_poison)
        return found[0] if found else None

    @classmethod
    async def aconsume_batch(
        cls,
        max_messages: int,
        timeout: float = 1.0,  # noqa: ASYNC109 - as consume_batch; its end is no error
        group_id: str | None = None,
        settings: BaseSettings | None = None,
        *,
        on_poison: OnPoison = "raise",
    ) -> list[Self]:
        """As :meth:`consume_batch`, without blocking the event loop.

        A call that is cancelled commits nothing: its messages come with the next one.
        """
        _check(max_messages)
        poison, seconds = _poison(on_poison), _limit(timeout)
        consumer = await cls.get_async_consumer(group_id, _committing_nothing(settings))
        return await atake(consumer, cls, max_messages, seconds, poison)

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
        """As :meth:`consume_iter`, for ``async for`` and ``async with``."""
        options = _iteration_options(cls, max_messages, timeout, on_poison)
        profile = _committing_nothing(settings)
        return AsyncMessages(options, lambda: cls.get_async_consumer(group_id, profile))

    @classmethod
    def _group_and_topics(cls, group_id: str | None) -> tuple[str, list[str]]:
        own = settings_of(cls)
        group = group_id or own.consumer_group
        if not group:
            raise SettingsError(
                f"{cls.__name__} has no consumer group: give group_id, or set "
                "consumer_group in its Settings"
            )
        return group, [own.topic]


def _iteration_options(
    model: type[M], max_messages: int | None, timeout: float | None, on_poison: str
) -> IterationOptions[M]:
    _check(max_messages)
    return IterationOptions(
        model=model,
        max_messages=max_messages,
        timeout=None if timeout is None or timeout < 0 else timeout,
        poison=_poison(on_poison),
    )


def _check(max_messages: int | None) -> None:
    if max_messages is not None and max_messages < 0:
        raise ValueError(f"max_messages={max_messages} must not be negative")


def _limit(timeout: float) -> float:
    return math.inf if timeout < 0 else timeout


def _poison(word: str) -> Poison:
    try:
        return Poison(word)
    except ValueError:
        raise ValueError(f"on_poison={word!r} must be 'raise' or 'skip'") from None


def _committing_nothing(settings: BaseSettings | None) -> BaseSettings:
    """The profile without auto-commit, whether its field or its extra_config turned that on."""
    off = copy(settings) if settings is not None else BaseSettings()
    off.extra_config = {**off.extra_config, "enable.auto.commit": False}
    return off
