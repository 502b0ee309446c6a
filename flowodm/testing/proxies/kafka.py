"""A fault proxy for a whole Kafka cluster, whose clients never learn where its brokers are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flowodm.testing.proxies.kafka_frames import Conversation
from flowodm.testing.proxies.listening import HOST
from flowodm.testing.proxies.tcp import FaultProxy, address_of
from flowodm.testing.proxies.tunnel import Tunnel

if TYPE_CHECKING:
    from flowodm.testing.proxies.tunnel import Address


class KafkaProxy(FaultProxy):
    """A :class:`FaultProxy` in front of every broker of a cluster.

    A Kafka client asks its bootstrap servers where the brokers are, and goes there by itself. Here
    each answer that names a broker names a port of the proxy instead, so no connection goes around
    it; nothing has to be configured at the brokers. ::

        with EmbeddedBroker() as broker, KafkaProxy(broker.bootstrap_servers) as kafka:
            connect(bootstrap_servers=kafka.bootstrap_servers)
            kafka.cut()

    Connections with TLS cannot be looked into: there the brokers have to advertise the proxy's
    address themselves.

    Args:
        bootstrap_servers: The cluster's, "host:port", several separated by commas.
        port: Where to listen for the first of them; 0: on any free port.
    """

    def __init__(self, bootstrap_servers: str, *, port: int = 0) -> None:
        servers = [server.strip() for server in bootstrap_servers.split(",")]
        super().__init__(servers[0], port=port)
        self._targets = [address_of(server) for server in servers]

    @property
    def bootstrap_servers(self) -> str:
        """What clients are given instead of the cluster's; "" while it is not running."""
        return ",".join(
            f"{HOST}:{self._listeners[target].port}"
            for target in self._targets
            if target in self._listeners
        )

    def _tunnel(
        self, target: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Tunnel:
        return _KafkaTunnel(Conversation(self._translate), self._line, target, reader, writer)

    def _translate(self, address: Address) -> Address:
        """On the proxy's thread: a broker that is named for the first time gets a port."""
        new = address not in self._listeners
        listener = self._listener(address)
        if new:
            listener.listen_at_once()
            self._soon = asyncio.ensure_future(listener.listen())
        return HOST, listener.port


class _KafkaTunnel(Tunnel):
    def __init__(self, conversation: Conversation, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._conversation = conversation

    def request(self, data: bytes) -> bytes:
        return self._conversation.request(data)

    def answer(self, data: bytes) -> bytes:
        return self._conversation.answer(data)
