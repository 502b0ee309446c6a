"""A fault proxy for a Kafka cluster, which hides the brokers' addresses from clients."""

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

    A Kafka client asks its bootstrap servers for the brokers' addresses, and connects to those.
    The proxy replaces the addresses in the answers by its own, so that no connection bypasses it
    and the brokers need no configuration. ::

        with EmbeddedBroker() as broker, KafkaProxy(broker.bootstrap_servers) as kafka:
            connect(bootstrap_servers=kafka.bootstrap_servers)
            kafka.cut()

    It cannot read connections with TLS: there the brokers must advertise the proxy's address.

    Args:
        bootstrap_servers: The cluster's "host:port", several separated by commas.
        port: The port that stands for the first of them; 0: any free port.
    """

    def __init__(self, bootstrap_servers: str, *, port: int = 0) -> None:
        servers = [server.strip() for server in bootstrap_servers.split(",")]
        super().__init__(servers[0], port=port)
        self._targets = [address_of(server) for server in servers]

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for clients; empty while the proxy is not running."""
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
        """Return the proxy's address for a broker; called on the proxy's thread."""
        is_new = address not in self._listeners
        listener = self._listener(address)
        if is_new:
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
