from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from flowodm import exceptions
from flowodm.cli.outcome import UnreachableError, status_of
from flowodm.cli.process import ExitStatus


def because(error, cause):
    error.__cause__ = cause
    return error


def kafka(code):
    return KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (exceptions.SchemaCompatibilityError("no"), ExitStatus.NO),
        (exceptions.ConfigurationError("no"), ExitStatus.CONFIGURATION),
        (exceptions.SettingsError("no"), ExitStatus.CONFIGURATION),
        (exceptions.SchemaValidationError("no"), ExitStatus.CONFIGURATION),
        (UnreachableError(), ExitStatus.UNREACHABLE),
        (exceptions.ConnectionError("no"), ExitStatus.UNREACHABLE),
        (exceptions.RegistryUnavailableError("no"), ExitStatus.UNREACHABLE),
        (exceptions.SchemaRegistryError("no"), ExitStatus.REFUSED),
        (exceptions.TopicError("no"), ExitStatus.REFUSED),
        (exceptions.ConsumerError("no"), ExitStatus.REFUSED),
        (
            because(exceptions.ConsumerError("no"), kafka(KafkaError.TOPIC_AUTHORIZATION_FAILED)),
            ExitStatus.REFUSED,
        ),
        (
            because(exceptions.ConsumerError("no"), kafka(KafkaError._ALL_BROKERS_DOWN)),
            ExitStatus.UNREACHABLE,
        ),
        (because(exceptions.ProducerError("no"), TimeoutError()), ExitStatus.UNREACHABLE),
        (
            because(
                exceptions.ProducerError("no"),
                because(exceptions.ProducerError("no"), kafka(KafkaError._MSG_TIMED_OUT)),
            ),
            ExitStatus.UNREACHABLE,
        ),
    ],
)
def test_silence_a_refusal_and_a_mistake_have_statuses_of_their_own(error, status):
    assert status_of(error) is status
