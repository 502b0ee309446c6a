"""Removing the dead from their group, in the child: Kafka itself only learns by a time-out.

A group keeps a member that was killed until its session ends (45 s by default, 300 s with
LongRunningSettings), and its partitions stand still for so long. The supervisor knows better:
it has reaped the process. So the successor, or a child forked for this alone, has the group's
coordinator remove the dead member: LeaveGroup as an administrator (KIP-345), which READ on the
group allows. librdkafka cannot send it; kafka-python's admin client can.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import errors
from kafka.admin import KafkaAdminClient, MemberToRemove
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl.oauth import AbstractTokenProvider

from flowodm.blocking import bounded
from supervisor.worker.group_member import GroupMember

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TIMEOUT = 2.0
"""Seconds after which a start goes on without an eviction that has not been answered."""
REASON = "its process is dead"
"""What the coordinator logs (KIP-800)."""

log = logging.getLogger("supervisor.worker")


class UntranslatableError(Exception):
    """The consumer's configuration has no equal in kafka-python's words; says which property."""


@dataclass(frozen=True, slots=True)
class Oidc:
    """Where an OAUTHBEARER token comes from (librdkafka's ``sasl.oauthbearer.*``).

    Attributes:
        url: The token endpoint.
        client_id: The client's name there.
        secret: The client's secret.
        scope: What to ask for, or "".
        extensions: SASL extensions, as "key=value,key=value".
    """

    url: str
    client_id: str
    secret: str = field(repr=False)
    scope: str = ""
    extensions: str = ""


_ALIASES = {
    "metadata.broker.list": "bootstrap.servers",
    "sasl.mechanisms": "sasl.mechanism",
}
_PLAIN = {
    "bootstrap.servers": "bootstrap_servers",
    "client.id": "client_id",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
    "ssl.crl.location": "ssl_crlfile",
}
"""librdkafka's properties whose values mean the same to kafka-python."""
_MECHANISMS = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"}
_OTHER_WAYS_TO_CONNECT = {
    "enable.ssl.certificate.verification",
    "https.ca.location",
    "https.ca.pem",
    "oauth_cb",
    "sasl.oauthbearer.config",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.engine.location",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.providers",
    "ssl.sigalgs.list",
    "ssl_ca",
    "ssl_certificate",
    "ssl_key",
}
"""Properties without which the connection would be another one, and that have no equal."""


def client_config(consumer: Mapping[str, Any]) -> dict[str, Any]:
    """Say in kafka-python's words how the consumer reaches its brokers.

    Args:
        consumer: librdkafka's configuration (CONFIGURATION.md of librdkafka).

    Raises:
        UntranslatableError: Some of it cannot be said.
    """
    given = {_ALIASES.get(name, name): value for name, value in consumer.items()}
    protocol = str(given.get("security.protocol", "plaintext")).upper()
    config: dict[str, Any] = {"security_protocol": protocol}
    for name, theirs in _PLAIN.items():
        if name not in given or not _matters(name, protocol):
            continue
        config[theirs] = _path(name, given[name])
    for name in sorted(_OTHER_WAYS_TO_CONNECT & given.keys()):
        if _matters(name, protocol) and given[name] not in {None, ""}:
            if name == "enable.ssl.certificate.verification" and _true(given[name]):
                continue
            raise UntranslatableError(f"{name} has no equal in kafka-python")
    if "SSL" in protocol.split("_"):
        # librdkafka's default (since 2.0); the other value it knows is "none".
        config["ssl_check_hostname"] = (
            str(given.get("ssl.endpoint.identification.algorithm", "https")).lower() == "https"
        )
    if protocol.startswith("SASL"):
        config |= _sasl(given)
    return config


def _matters(name: str, protocol: str) -> bool:
    """Whether a property plays a part under that security.protocol."""
    if name.startswith(("ssl", "enable.ssl")):
        return protocol.endswith("SSL")
    if name.startswith(("sasl", "oauth", "https")):
        return protocol.startswith("SASL")
    return True


def _path(name: str, value: Any) -> Any:
    if name == "ssl.ca.location" and value == "probe":
        raise UntranslatableError('ssl.ca.location = "probe" has no equal in kafka-python')
    return value


def _true(value: Any) -> bool:
    return str(value).lower() in {"true", "1", "t"}


def _sasl(given: Mapping[str, Any]) -> dict[str, Any]:
    mechanism = str(given.get("sasl.mechanism", "GSSAPI")).upper()
    if mechanism not in _MECHANISMS:
        raise UntranslatableError(f"sasl.mechanism {mechanism} is not supported")
    if mechanism != "OAUTHBEARER":
        return {"sasl_mechanism": mechanism}
    if str(given.get("sasl.oauthbearer.method", "default")).lower() != "oidc":
        raise UntranslatableError('of sasl.oauthbearer.method only "oidc" is supported')
    if str(given.get("sasl.oauthbearer.grant.type", "client_credentials")) != "client_credentials":
        raise UntranslatableError("sasl.oauthbearer.grant.type has no equal in kafka-python")
    secret = given.get("sasl.oauthbearer.client.credentials.client.secret")
    names = (
        given.get("sasl.oauthbearer.token.endpoint.url"),
        given.get("sasl.oauthbearer.client.credentials.client.id")
        or given.get("sasl.oauthbearer.client.id"),
        secret or given.get("sasl.oauthbearer.client.secret"),
    )
    if not all(names):
        raise UntranslatableError("the token's endpoint, client id or secret is not given")
    url, client_id, secret = map(str, names)
    scope, extensions = "sasl.oauthbearer.scope", "sasl.oauthbearer.extensions"
    return {
        "sasl_mechanism": mechanism,
        "sasl_oauth_token_provider": Oidc(
            url, client_id, secret, str(given.get(scope, "")), str(given.get(extensions, ""))
        ),
    }


def evict_dead(
    consumer: Mapping[str, Any], member_ids: Sequence[str], *, successor: bool = True
) -> bool:
    """Have the coordinator remove dead members, if their successor needs it. Never raises.

    Static members are named by both of their ids, so that a member which holds the same
    group.instance.id by now, in whatever process, is safe.

    Args:
        consumer: librdkafka's configuration of the consumer.
        member_ids: The members of processes whose death is confirmed.
        successor: Somebody joins in the dead one's place; false where it is gone for good.

    Returns:
        Whether none of them is a member any more, or none had to be evicted.
    """
    membership = GroupMember.of(consumer)
    if not member_ids or (successor and membership.inherits):
        return True
    facts = {"group": membership.group, "members": list(member_ids)}
    consequence = f"its partitions stand still until {membership.session} has passed"
    try:
        config = client_config(consumer)
    except UntranslatableError as error:
        log.warning("the dead member is not evicted: %s; %s", error, consequence, extra=facts)
        return False
    try:
        refused = bounded(lambda: _remove(config, membership, member_ids), TIMEOUT)
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker starts all the same
        refused = _told(error)
    if refused:
        log.warning("the dead member is not evicted: %s; %s", refused, consequence, extra=facts)
        return False
    log.info("the dead member is out of the group", extra=facts)
    return True


def _told(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _remove(config: dict[str, Any], membership: GroupMember, member_ids: Sequence[str]) -> str:
    """Ask the coordinator; returns why it refused, or "" if they are not in the group now."""
    provider = config.get("sasl_oauth_token_provider")
    if isinstance(provider, Oidc):
        config = {**config, "sasl_oauth_token_provider": _Tokens(provider)}
    patience = int(0.9 * TIMEOUT * 1000)  # so that its own answer comes before ours
    dead = [MemberToRemove(each, membership.instance_id, REASON) for each in member_ids]
    config |= {"request_timeout_ms": patience, "bootstrap_timeout_ms": patience}
    with _silent(), _admin(config) as client:
        results = client.remove_group_members(membership.group, dead)
    # Somebody else has the instance id by now, so the dead one has not.
    gone = {errors.NoError, errors.UnknownMemberIdError, errors.FencedInstanceIdError}
    problems = {result.__name__ for result in results.values() if result not in gone}
    return ", ".join(sorted(problems))


@contextlib.contextmanager
def _admin(config: dict[str, Any]) -> Iterator[KafkaAdminClient]:
    """An admin client, closed in the end: also one that has not come as far as its brokers.

    Its constructor connects, and when it raises leaves a thread behind that tries for ever.
    """
    made: list[Any] = []

    def make(**their_config: Any) -> Any:
        made.append(KafkaNetClient(**their_config))
        return made[0]

    try:
        yield KafkaAdminClient(**config, kafka_client=make)
    finally:
        for client in made:
            client.close()
            client._manager._net.stop()  # noqa: SLF001 - as KafkaAdminClient.close() does it


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """kafka-python logs its configuration, passwords included; what it raises says enough."""
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """A token by the client credentials grant (RFC 6749, 4.4), as librdkafka's "oidc" gets it."""

    def __init__(self, source: Oidc) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        source = self._source
        form = {"grant_type": "client_credentials"} | (
            {"scope": source.scope} if source.scope else {}
        )
        credentials = base64.b64encode(f"{source.client_id}:{source.secret}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            source.url,
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {credentials}", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - as above
            return str(json.load(answer)["access_token"])

    def extensions(self) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self._source.extensions.split(",") if pair)
        return {key: value for key, _, value in pairs}
