"""A Kafka with a listener for each way of authentication, and what clients need for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from support.brokers.certificates import lock_key, make_certificates
from support.brokers.clients import admin_client
from support.brokers.jvm import free_port
from support.brokers.kafka_server import KafkaServer

if TYPE_CHECKING:
    from pathlib import Path

USER, PASSWORD, KEY_PASSWORD = "worker", "w0rker-secret", "k3y-secret"
JAAS = "listener.name.{}.{}.sasl.jaas.config"
PLAIN_LOGIN = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
)
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
TOKEN_LOGIN = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";'
)


class SecureKafka:
    """Its listeners' addresses and certificates.

    Args:
        folder: Where certificates go; an empty directory.
        config: Further lines of server.properties.
    """

    def __init__(self, folder: Path, config: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("sasl_plaintext", "ssl", "sasl_ssl")}
        self._make_certificates()
        self.server = KafkaServer(config)
        self.server.config |= self._listeners() | self._logins() | self._certificates()

    @property
    def bootstrap_servers(self) -> str:
        """The listener without any security."""
        return self.server.bootstrap_servers

    def add_user(self) -> None:
        """SCRAM's users are in the cluster's metadata; the others are in the configuration."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        upsertion = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
        admin = admin_client(self.bootstrap_servers)
        admin.alter_user_scram_credentials([upsertion])[USER].result(20)

    def client(self, protocol: str, mechanism: str | None = None) -> dict[str, Any]:
        """librdkafka's configuration for a listener."""
        config: dict[str, Any] = {
            "bootstrap.servers": f"127.0.0.1:{self.ports[protocol]}",
            "security.protocol": protocol,
        }
        if protocol.endswith("ssl"):
            config["ssl.ca.location"] = str(self.folder / "ca.pem")
        if protocol == "ssl":
            config["ssl.certificate.location"] = str(self.folder / "client.pem")
            config["ssl.key.location"] = str(self.folder / "client.key")
            config["ssl.key.password"] = KEY_PASSWORD
        if mechanism == "OAUTHBEARER":
            config["sasl.mechanism"] = mechanism
            config["enable.sasl.oauthbearer.unsecure.jwt"] = True
            config["sasl.oauthbearer.config"] = f"principal={USER}"
        elif mechanism is not None:
            config["sasl.mechanism"] = mechanism
            config["sasl.username"], config["sasl.password"] = USER, PASSWORD
        return config

    def _listeners(self) -> dict[str, str]:
        config = self.server.config
        more = [f"{name.upper()}://127.0.0.1:{port}" for name, port in self.ports.items()]
        names = ["CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT"]
        names += [f"{name.upper()}:{name.upper()}" for name in self.ports]
        return {
            "listeners": ",".join([config["listeners"], *more]),
            "advertised.listeners": ",".join([config["advertised.listeners"], *more]),
            "listener.security.protocol.map": ",".join(names),
        }

    def _logins(self) -> dict[str, str]:
        return {
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            JAAS.format("sasl_plaintext", "plain"): PLAIN_LOGIN,
            JAAS.format("sasl_plaintext", "scram-sha-512"): SCRAM_LOGIN,
            JAAS.format("sasl_plaintext", "oauthbearer"): TOKEN_LOGIN,
            JAAS.format("sasl_ssl", "plain"): PLAIN_LOGIN,
            JAAS.format("sasl_ssl", "scram-sha-512"): SCRAM_LOGIN,
            JAAS.format("sasl_ssl", "oauthbearer"): TOKEN_LOGIN,
        }

    def _certificates(self) -> dict[str, str]:
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "broker.both"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.folder / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
        }

    def _make_certificates(self) -> None:
        make_certificates(self.folder, "broker", "client")
        both = (self.folder / "broker.key").read_text() + (self.folder / "broker.pem").read_text()
        (self.folder / "broker.both").write_text(both)
        lock_key(self.folder, "client", KEY_PASSWORD)
