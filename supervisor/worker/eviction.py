"""Evicts dead members from their consumer group, in the child.

Kafka learns of a killed member only when its session times out (45 s by default, 300 s with
LongRunningSettings); until then nobody gets its partitions. The supervisor knows earlier, because
it has reaped the process. So the successor, or a child forked for this, asks the group's
coordinator to remove the dead member: LeaveGroup as an administrator (KIP-345), which READ on the
group allows. librdkafka cannot send it; kafka-python's admin client can.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from kafka import errors
from kafka.admin import KafkaAdminClient, MemberToRemove
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl.oauth import AbstractTokenProvider

from flowodm.blocking import bounded
from supervisor.worker.group_member import GroupMember
from supervisor.worker.kafka_python_config import (
    Oidc,
    UntranslatableError,
    kafka_python_config,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TIMEOUT = 2.0
"""Seconds after which a worker starts without the coordinator's answer."""
REASON = "its process is dead"
"""The reason that the coordinator logs (KIP-800)."""

_log = logging.getLogger("supervisor.worker")


def evict_dead(
    consumer: Mapping[str, Any], member_ids: Sequence[str], *, successor: bool = True
) -> bool:
    """Have the coordinator remove dead members, unless a successor inherits. Never raises.

    A static member is named by both of its ids, so that a living member that has the same
    group.instance.id by now is not removed.

    Args:
        consumer: librdkafka's configuration of the consumer.
        member_ids: The members whose processes are dead beyond doubt.
        successor: Whether a successor joins in the dead member's place.

    Returns:
        Whether none of them is in the group any more, or none had to be evicted.
    """
    member = GroupMember.of(consumer)
    if not member_ids or (successor and member.inherits):
        return True
    fields = {"group": member.group, "members": list(member_ids)}
    problem = _evict(consumer, member, member_ids)
    if problem:
        consequence = f"its partitions stand still until {member.session} has passed"
        _log.warning("the dead member is not evicted: %s; %s", problem, consequence, extra=fields)
        return False
    _log.info("the dead member is out of the group", extra=fields)
    return True


def _evict(consumer: Mapping[str, Any], member: GroupMember, member_ids: Sequence[str]) -> str:
    """Return why the members could not be evicted; "" if they were."""
    try:
        config = kafka_python_config(consumer)
    except UntranslatableError as error:
        return str(error)
    try:
        return bounded(lambda: _remove(config, member, member_ids), TIMEOUT)
    except TimeoutError:
        return f"no answer within {TIMEOUT:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker starts all the same
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _remove(config: dict[str, Any], member: GroupMember, member_ids: Sequence[str]) -> str:
    """Ask the coordinator; return why it refused, or "" if they are not in the group now."""
    provider = config.get("sasl_oauth_token_provider")
    if isinstance(provider, Oidc):
        config = {**config, "sasl_oauth_token_provider": _Tokens(provider)}
    timeout_ms = int(0.9 * TIMEOUT * 1000)  # kafka-python's error comes before our time-out
    dead = [MemberToRemove(each, member.instance_id, REASON) for each in member_ids]
    config |= {"request_timeout_ms": timeout_ms, "bootstrap_timeout_ms": timeout_ms}
    with _silent(), _admin(config) as client:
        results = client.remove_group_members(member.group, dead)
    # Fenced: another member has the instance id by now, so the dead one is out.
    gone = {errors.NoError, errors.UnknownMemberIdError, errors.FencedInstanceIdError}
    problems = {result.__name__ for result in results.values() if result not in gone}
    return ", ".join(sorted(problems))


@contextlib.contextmanager
def _admin(config: dict[str, Any]) -> Iterator[KafkaAdminClient]:
    """Make an admin client and close it in the end, even if its constructor raises.

    The constructor connects; when it raises it leaves a thread behind that tries for ever.
    """
    clients: list[Any] = []

    def make(**config: Any) -> Any:
        clients.append(KafkaNetClient(**config))
        return clients[0]

    try:
        yield KafkaAdminClient(**config, kafka_client=make)
    finally:
        for client in clients:
            client.close()
            client._manager._net.stop()  # noqa: SLF001 - as KafkaAdminClient.close() does it


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Disable kafka-python's log, which contains its configuration and so passwords."""
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """Gets tokens by the client credentials grant (RFC 6749, 4.4), as librdkafka's "oidc" does."""

    def __init__(self, source: Oidc) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        """Request a token."""
        source = self._source
        form = {"grant_type": "client_credentials"}
        if source.scope:
            form["scope"] = source.scope
        credentials = base64.b64encode(f"{source.client_id}:{source.secret}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            source.url,
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {credentials}", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - as above
            return str(json.load(answer)["access_token"])

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions."""
        pairs = (pair.partition("=") for pair in self._source.extensions.split(",") if pair)
        return {key: value for key, _, value in pairs}
