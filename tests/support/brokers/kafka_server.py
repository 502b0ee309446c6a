"""A real Kafka for tests: one KRaft node, broker and controller in one."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from support.brokers import artifacts
from support.brokers.clients import admin_client, committed
from support.brokers.jvm import JvmServer, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG4J = Path(__file__).with_name("log4j2.properties")
ANSWER_TIMEOUT = 2.0


class KafkaServer(JvmServer):
    """``with KafkaServer() as kafka: connect(kafka.bootstrap_servers)``.

    Topics have to be created; internal topics are small, so that the first group joins at once.
    ``config`` adds to or replaces lines of server.properties. Everything else, the group
    coordinator's time-outs and KIP-848 among it, is as Kafka 4.1 ships it.

    A start after :meth:`kill` takes about 10 s: the controller, started anew, still knows the
    killed broker and waits for its session to end (broker.session.timeout.ms).
    """

    name = "kafka"

    def __init__(self, config: Mapping[str, str] | None = None, *, heap: str = "512m") -> None:
        super().__init__(heap=heap)
        self.controller_port = free_port()
        self.config = _properties(self.port, self.controller_port, self.data) | dict(config or {})

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        lines = [f"{key}={value}" for key, value in self.config.items()]
        self._properties_path.write_text("\n".join(lines) + "\n")
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        self._run_to_end(
            # "--cluster-id=": the id may begin with a dash.
            self._program("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c")
        )

    def _arguments(self) -> list[str]:
        return self._program("kafka.Kafka")

    def _program(self, main_class: str, *arguments: str) -> list[str]:
        return [
            f"-Dlog4j2.configurationFile={LOG4J}",
            "-cp",
            f"{artifacts.kafka_libraries()}/*",
            main_class,
            *arguments,
            str(self._properties_path),
        ]

    @property
    def _properties_path(self) -> Path:
        return self.data / "server.properties"

    def _answers(self) -> bool:
        """It knows itself as broker, and its group coordinator has loaded its offsets."""
        try:
            if not admin_client(self.bootstrap_servers).list_topics(timeout=ANSWER_TIMEOUT).brokers:
                return False
            nowhere = TopicPartition("flowodm-readiness", 0)
            committed(self.bootstrap_servers, "flowodm-readiness", [nowhere], ANSWER_TIMEOUT)
        except KafkaException:
            return False
        return True


def _properties(port: int, controller_port: int, data: Path) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(data / "log"),
        "num.partitions": "4",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "4",
        # 128 MB of the heap otherwise, for a cleaner that has nothing to do here.
        "log.cleaner.dedupe.buffer.size": "8388608",
    }
