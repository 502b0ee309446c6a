"""What an operator changes while the fleet runs: reloads, restarts, scaling.

Everything happens on the main loop, between two of its turns. A change is planned as a whole
before anything is done; what is refused has changed nothing.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from supervisor.changes.plan import Plan, plan
from supervisor.changes.rollout import BeginReplacement, ReleaseSlot, Rollout, SlotView, advance
from supervisor.config.topic_size import TopicSize
from supervisor.fleet.configured_slots import slot_specs
from supervisor.fleet.member import Member
from supervisor.fleet.slot_spec import SlotKey, SlotSpec
from supervisor.slot.machine import FINAL, READY, RUNNING, Slot
from supervisor.slot.restart import ExitClass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervisor.config.config import SupervisorConfig
    from supervisor.fleet.fleet import Fleet
    from supervisor.protocol import Logging, Start

log = logging.getLogger("supervisor")

FIXED = ("instance_id", "http", "http_hosts", "control_socket", "log_level", "log_format")
"""Keys of [supervisor] that a running supervisor cannot change."""
PATIENCE = 120.0
"""Seconds that a successor may take to be at work, before the rest of a rollout is given up."""
WARM_LOOK = 0.05
"""Seconds between two looks whether a renewed fork server is warm."""
PACE = 1.1
"""Seconds between two replacements where each makes the whole group join again: a client of
librdkafka joins once a second at most, and until the last one has, partitions stand still."""
SETTLED = 2.0
"""Seconds after which an assigned worker whose lag nobody knows counts as being at work."""


class ChangeRefusedError(Exception):
    """What was asked for cannot be done; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a request led to.

    Attributes:
        added: Slots that are new.
        removed: Slots that end for good.
        replaced: Slots whose processes are replaced, one after the other.
        paused: Slots whose workers fetch nothing any more.
        resumed: Slots whose workers go on.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> Change:
        """The same in words."""
        moved = {*plan.added, *plan.removed}
        replaced = sorted({key for step in plan.steps for key in step} - moved)
        names = (plan.added, plan.removed, replaced)
        return cls(*(tuple(map(str, keys)) for keys in names))


class Changes:
    """Changes the slots of a fleet.

    Args:
        config: What it runs.
        instance_id: The supervisor's name.
        logging: How workers log.
        fleet: The slots.

    Attributes:
        config: What it is to run from the latest accepted change on.
        rollout: What is being replaced.
    """

    def __init__(
        self, config: SupervisorConfig, instance_id: str, logging: Logging, fleet: Fleet
    ) -> None:
        self.config = config
        self.rollout = Rollout()
        self._instance_id = instance_id
        self._logging = logging
        self._fleet = fleet
        self._scaled: dict[str, int] = {}
        self._sizes: dict[str, TopicSize] = {}
        self._paused: set[str] = set()
        self._stopped = False

    # Requests

    def reload(self, config: SupervisorConfig) -> Change:
        """Run another configuration; only what differs is touched.

        Consumers that were scaled have the configured number of workers again.

        Raises:
            ChangeRefusedError: It changes what a running supervisor cannot change.
        """
        before, after = self.config.supervisor, config.supervisor
        fixed = [key for key in FIXED if getattr(before, key, None) != getattr(after, key, None)]
        if fixed:
            names = ", ".join(f"supervisor.{key}" for key in fixed)
            raise ChangeRefusedError(f"{names} cannot change while it runs; start it anew")
        if before.preload != after.preload:
            self._fleet.renew_server(after.preload)
        self._scaled.clear()
        for name, table in config.consumers.items():
            old = self.config.consumers.get(name)
            if old is None or old.model != table.model:  # perhaps another topic
                self._sizes.pop(name, None)
        return self._apply(config)

    def scale(self, consumer: str, workers: int) -> Change:
        """Run a consumer with another number of workers, until the next reload.

        Raises:
            ChangeRefusedError: There is no such consumer, its partitions are pinned, or the
                number is out of range.
        """
        self._require(consumer)
        table = self.config.consumers[consumer]
        if table.pinned is not None:
            raise ChangeRefusedError(
                f"{consumer} has pinned partitions: change its {table.pinned} and reload"
            )
        if not 1 <= workers <= 1000:  # noqa: PLR2004 - as the configuration has it
            raise ChangeRefusedError(f"workers must be from 1 to 1000, not {workers}")
        self._scaled[consumer] = workers
        return self._apply(self.config)

    def restart(self, consumer: str | None = None, slot: int | None = None) -> Change:
        """Replace processes one after the other; they load new code.

        Slots that had failed for good are tried again.

        Args:
            consumer: Only this consumer's.
            slot: Only this one of them.

        Raises:
            ChangeRefusedError: There is no such consumer or slot.
        """
        self._require(consumer)
        keys = [
            member.key
            for member in self._fleet.members
            if not member.retired
            and consumer in {None, member.consumer}
            and slot in {None, member.index}
        ]
        if not keys:
            raise ChangeRefusedError(f"{consumer} has no slot {slot}")
        self._fleet.renew_server(self.config.supervisor.preload)
        return self._roll([frozenset({key}) for key in keys], ExitClass.RESTARTED)

    def pause(self, consumer: str | None, *, paused: bool) -> Change:
        """Have workers fetch nothing, or go on; those that start later too.

        Args:
            consumer: Only this consumer's.
            paused: Whether to pause.

        Raises:
            ChangeRefusedError: There is no such consumer.
        """
        self._require(consumer)
        names = [consumer] if consumer is not None else list(self.config.consumers)
        self._paused = (self._paused | set(names)) if paused else (self._paused - set(names))
        keys = [m.key for m in self._fleet.members if m.consumer in names and not m.retired]
        for key in keys:
            self._fleet.pause(key, paused=paused)
        told = tuple(map(str, keys))
        return Change(paused=told) if paused else Change(resumed=told)

    def recycle(self, key: SlotKey) -> None:
        """Replace one process that has reached its age, number of records or size."""
        if key not in self.rollout.slots:
            self._roll([frozenset({key})], ExitClass.RECYCLED)

    # The main loop

    def turn(self) -> None:
        """Go on with what is being replaced, and forget slots that have ended for good."""
        if not self._stopped:  # the end's report tells of all that ended in it
            self._fleet.sweep()
        self._follow_topics()
        while self.rollout.under_way and not self._waits:
            before = self.rollout
            now = time.monotonic()
            self.rollout, orders = advance(before, self._views(now), now, PATIENCE)
            for order in orders:
                match order:
                    case BeginReplacement(key, reason, hold):
                        self._fleet.replace(key, reason, hold=hold)
                    case ReleaseSlot(key):
                        self._fleet.release(key)
            if self.rollout.halted and not before.halted:
                log.error("the rollout is given up: %s", self.rollout.halted)
            if self.rollout == before:
                return

    def next_deadline(self) -> float | None:
        """When `turn` matters next although nothing was reported."""
        if self._waits:
            return time.monotonic() + WARM_LOOK
        return self.rollout.deadline if self.rollout.current else None

    @property
    def _waits(self) -> bool:
        """Whether the first replacement of a rollout waits for a warm fork server."""
        return self.rollout.under_way and not self.rollout.current and self._fleet.warming_up

    def stop(self) -> None:
        """Replace nothing more: the fleet ends."""
        self.rollout = Rollout()
        self._stopped = True

    # Inside

    def _follow_topics(self) -> None:
        """Have as many workers as the topics need whose partitions are pinned by size."""
        heard = {}
        for member in self._fleet.members:
            if member.partition_count is None or member.retired or not _is_of_now(member):
                continue
            before = self._sizes.get(member.consumer)
            if before is None or before.partitions != member.partition_count:
                heard[member.consumer] = TopicSize.heard(before, member.partition_count)
        if heard and not self._stopped:
            self._sizes |= heard
            told = {name: size.partitions for name, size in heard.items()}
            log.info("the number of partitions is known", extra={"partitions": told})
            self._apply(self.config, revive=False)

    def _apply(self, config: SupervisorConfig, *, revive: bool = True) -> Change:
        wanted = slot_specs(config, self._instance_id, self._logging, self._scaled, self._sizes)
        members = {m.key: m for m in self._fleet.members if not m.retired}
        for key in members.keys() & wanted.keys():
            if _waits_for(members[key], wanted[key].start):
                self._fleet.pin(members[key], wanted[key].start)
        running = {key: SlotSpec(m.running or m.start, m.policy) for key, m in members.items()}
        made = plan(running, wanted)
        self.config = config
        for key, what in wanted.items():
            if key in members:
                members[key].start, members[key].policy = what.start, what.policy
        held = {key for step in made.steps for key in step if len(step) > 1}
        now = time.monotonic()
        for key in made.added:
            slot = Slot.held(now) if key in held else Slot.new(now)
            member = Member(key.consumer, key.index, wanted[key].start, wanted[key].policy, slot)
            member.paused = key.consumer in self._paused
            self._fleet.add(member)
        for key in made.removed:
            self._fleet.retire(key)
        self.rollout = self.rollout.except_for(ExitClass.RELOADED)
        if revive:
            self._revive(made, members)
        self._roll(made.steps, ExitClass.RELOADED)
        return Change.of(made)

    def _revive(self, made: Plan, members: Mapping[SlotKey, Member]) -> None:
        """Whatever failed for good is tried again after a reload, changed or not."""
        changed = {key for step in made.steps for key in step}
        for key, member in members.items():
            if key not in changed and not member.retired and member.slot.state in FINAL:
                self._fleet.replace(key, ExitClass.RELOADED, hold=False)

    def _roll(self, steps: Sequence[frozenset[SlotKey]], reason: ExitClass) -> Change:
        self.rollout = self.rollout.then(steps, reason)
        return Change(replaced=tuple(str(key) for step in steps for key in sorted(step)))

    def _views(self, now: float) -> dict[SlotKey, SlotView]:
        return {member.key: _view(member, now) for member in self._fleet.members}

    def _require(self, consumer: str | None) -> None:
        if consumer is not None and consumer not in self.config.consumers:
            names = ", ".join(self.config.consumers)
            raise ChangeRefusedError(f"there is no consumer {consumer!r}; there are {names}")


def _is_of_now(member: Member) -> bool:
    """Whether its process was told to consume what the configuration names by now."""
    running = member.running or member.start
    return bool(running.consumer["model"] == member.start.consumer["model"])


def _waits_for(member: Member, wanted: Start) -> bool:
    """Whether its process waits for nothing but the partitions in this."""
    running = member.running
    if running is None or member.slot.state not in RUNNING or running.consumer.get("partitions"):
        return False
    with_partitions = {**running.consumer, "partitions": wanted.consumer.get("partitions")}
    same: bool = wanted == replace(running, consumer=with_partitions)
    return same and "partitions" in running.consumer


def _view(member: Member, now: float) -> SlotView:
    beat, state = member.heartbeat, member.slot.state
    paced = member.joined_at is not None and now - member.joined_at >= PACE
    at_work = (
        state in READY
        and beat is not None
        and (paced or not member.rejoins)
        and (
            member.paused
            or beat.processed > 0
            or beat.in_flight > 0
            or beat.lag == 0
            or not beat.assigned
            or (beat.lag is None and now - member.slot.since > SETTLED)
        )
    )
    alive = member.process is not None
    return SlotView(member.spawned if alive else 0, at_work, over=state in FINAL)
