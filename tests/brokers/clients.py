"""Plain confluent-kafka clients for tests: nothing of flowodm is in what it is measured by."""

from __future__ import annotations

from typing import Any

from confluent_kafka.admin import AdminClient

# For brokers that come up, or back, during a test: librdkafka's own patience grows to 10 s, and
# it would print every refused connection.
IMPATIENT: dict[str, Any] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "socket.connection.setup.timeout.ms": 2_000,
    "log_level": 0,
}


def admin_client(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, **IMPATIENT})
