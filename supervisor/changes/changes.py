"""Changes a running fleet: reloads, restarts, scaling, pauses, recycling.

Everything happens on the main loop, between two of its turns. A change is planned as a whole
before anything is done; a change that is refused has changed nothing.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from supervisor.changes.at_work import view_of
from supervisor.changes.plan import Plan, plan
from supervisor.changes.rollout import BeginReplacement, ReleaseSlot, Rollout, SlotView, advance
from supervisor.config.topic_size import TopicSize
from supervisor.fleet.configured_slots import slot_specs
from supervisor.fleet.member import Member
from supervisor.fleet.slot_spec import SlotKey, SlotSpec
from supervisor.slot.machine import FINAL, RUNNING, Slot
from supervisor.slot.restart import ExitClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from supervisor.changes.rollout import RolloutAction
    from supervisor.config.config import SupervisorConfig
    from supervisor.fleet.fleet import Fleet
    from supervisor.protocol import Logging, Start

_log = logging.getLogger("supervisor")

FIXED = ("instance_id", "http", "http_hosts", "control_socket", "log_level", "log_format")
"""Keys of [supervisor] that a running supervisor cannot change."""
PATIENCE = 120.0
"""Seconds that a successor may take to be at work, before the rest of a rollout is given up."""
WARM_LOOK = 0.05
"""Seconds between two looks whether a renewed fork server has imported its modules."""


class ChangeRefusedError(Exception):
    """The change is not possible; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a request changes; the slots are named "consumer/number".

    Attributes:
        added: New slots.
        removed: Slots that end for good.
        replaced: Slots whose processes are replaced, one after the other.
        paused: Slots whose workers stop fetching.
        resumed: Slots whose workers fetch again.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> Change:
        """Describe a plan."""
        return cls(
            added=_names(plan.added),
            removed=_names(plan.removed),
            replaced=_names(plan.replaced),
        )


class Changes:
    """Changes the slots of a fleet.

    Args:
        config: The configuration that it runs.
        instance_id: The supervisor's name.
        logging: How workers log.
        fleet: The slots.

    Attributes:
        config: The configuration of the latest accepted change.
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
        """Run another configuration; slots that are the same in both are not touched.

        Consumers that were scaled have the configured number of workers again.

        Raises:
            ChangeRefusedError: It changes a key that a running supervisor cannot change.
        """
        before, after = self.config.supervisor, config.supervisor
        fixed = [key for key in FIXED if getattr(before, key, None) != getattr(after, key, None)]
        if fixed:
            names = ", ".join(f"supervisor.{key}" for key in fixed)
            raise ChangeRefusedError(f"{names} cannot change at a reload; start it anew")
        if before.preload != after.preload:
            self._fleet.renew_server(after.preload)
        self._scaled.clear()
        for name, table in config.consumers.items():
            old_table = self.config.consumers.get(name)
            if old_table is None or old_table.model != table.model:  # perhaps another topic
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
        """Replace processes one after the other; the new ones load new code.

        Slots that have failed for good are started again.

        Args:
            consumer: Restart only this consumer's slots.
            slot: Restart only this one of them.

        Raises:
            ChangeRefusedError: There is no such consumer or slot.
        """
        self._require(consumer)
        keys = [
            key
            for key in self._kept_members()
            if consumer in {None, key.consumer} and slot in {None, key.index}
        ]
        if not keys:
            raise ChangeRefusedError(f"{consumer} has no slot {slot}")
        self._fleet.renew_server(self.config.supervisor.preload)
        return self._roll_out([frozenset({key}) for key in keys], ExitClass.RESTARTED)

    def pause(self, consumer: str | None, *, paused: bool) -> Change:
        """Have workers stop fetching, or fetch again; this holds for their successors too.

        Args:
            consumer: Pause only this consumer's workers.
            paused: Whether to pause.

        Raises:
            ChangeRefusedError: There is no such consumer.
        """
        self._require(consumer)
        consumers = {consumer} if consumer is not None else set(self.config.consumers)
        self._paused = self._paused | consumers if paused else self._paused - consumers
        keys = [key for key in self._kept_members() if key.consumer in consumers]
        for key in keys:
            self._fleet.pause(key, paused=paused)
        return Change(paused=_names(keys)) if paused else Change(resumed=_names(keys))

    def recycle(self, key: SlotKey) -> None:
        """Replace a process that has reached its maximum age, number of records or memory."""
        if key not in self.rollout.slots:
            self._roll_out([frozenset({key})], ExitClass.RECYCLED)

    # The main loop

    def turn(self) -> None:
        """Advance the rollout, and remove retired slots that have ended."""
        if not self._stopped:  # the final report lists the slots that end during the stop
            self._fleet.sweep()
        self._follow_topics()
        while self.rollout.under_way and not self._waits_for_fork_server:
            before = self.rollout
            self._advance_rollout()
            if self.rollout.halted and not before.halted:
                _log.error("the rollout is given up: %s", self.rollout.halted)
            if self.rollout == before:
                return

    def next_deadline(self) -> float | None:
        """Return when `turn` is due although no process reports anything; None if never."""
        if self._waits_for_fork_server:
            return time.monotonic() + WARM_LOOK
        return self.rollout.deadline if self.rollout.current else None

    def stop(self) -> None:
        """Replace nothing more: the fleet stops."""
        self.rollout = Rollout()
        self._stopped = True

    @property
    def _waits_for_fork_server(self) -> bool:
        """Whether a rollout's next step waits until the fork server has imported its modules."""
        return self.rollout.under_way and not self.rollout.current and self._fleet.warming_up

    def _advance_rollout(self) -> None:
        now = time.monotonic()
        views = self._views(now)
        self.rollout, actions = advance(self.rollout, views, now, patience=PATIENCE)
        for action in actions:
            self._perform(action)

    def _perform(self, action: RolloutAction) -> None:
        match action:
            case BeginReplacement(key, reason, hold):
                self._fleet.replace(key, reason, hold=hold)
            case ReleaseSlot(key):
                self._fleet.release(key)
            case _:
                assert_never(action)

    def _views(self, now: float) -> dict[SlotKey, SlotView]:
        return {member.key: view_of(member, now) for member in self._fleet.members}

    def _follow_topics(self) -> None:
        """Apply the numbers of partitions that workers have counted."""
        if self._stopped:
            return
        counted = self._counted_sizes()
        if counted:
            self._sizes |= counted
            partitions = {name: size.partitions for name, size in counted.items()}
            _log.info("the number of partitions is known", extra={"partitions": partitions})
            self._apply(self.config, restart_failed=False)

    def _counted_sizes(self) -> dict[str, TopicSize]:
        """Return the topics' numbers of partitions that are new or have changed."""
        sizes: dict[str, TopicSize] = {}
        for member in self._kept_members().values():
            count = member.partition_count
            if count is None or not _has_current_model(member):
                continue
            before = self._sizes.get(member.consumer)
            if before is None or before.partitions != count:
                sizes[member.consumer] = TopicSize.heard(before, count)
        return sizes

    # Applying a configuration

    def _apply(self, config: SupervisorConfig, *, restart_failed: bool = True) -> Change:
        wanted = slot_specs(
            config,
            self._instance_id,
            self._logging,
            scaled=self._scaled,
            sizes=self._sizes,
        )
        members = self._kept_members()
        self._pin_waiting(members, wanted)
        running = {key: SlotSpec(m.running or m.start, m.policy) for key, m in members.items()}
        difference = plan(running, wanted)
        self.config = config
        self._update(members, wanted)
        self._add(difference, wanted)
        for key in difference.removed:
            self._fleet.retire(key)
        self.rollout = self.rollout.except_for(ExitClass.RELOADED)
        if restart_failed:
            self._restart_failed(difference, members)
        self._roll_out(difference.steps, ExitClass.RELOADED)
        return Change.of(difference)

    def _pin_waiting(
        self, members: Mapping[SlotKey, Member], wanted: Mapping[SlotKey, SlotSpec]
    ) -> None:
        """Send their partitions to the workers that wait for nothing else."""
        for key in members.keys() & wanted.keys():
            if _waits_for_partitions(members[key], wanted[key].start):
                self._fleet.pin(members[key], wanted[key].start)

    def _update(
        self, members: Mapping[SlotKey, Member], wanted: Mapping[SlotKey, SlotSpec]
    ) -> None:
        """Set what the next processes of the slots that stay are to run."""
        for key in members.keys() & wanted.keys():
            members[key].start, members[key].policy = wanted[key].start, wanted[key].policy

    def _add(self, difference: Plan, wanted: Mapping[SlotKey, SlotSpec]) -> None:
        now, held = time.monotonic(), difference.held
        for key in difference.added:
            slot = Slot.held(now) if key in held else Slot.new(now)
            spec = wanted[key]
            member = Member(
                key.consumer, key.index, start=spec.start, policy=spec.policy, slot=slot
            )
            member.paused = key.consumer in self._paused
            self._fleet.add(member)

    def _restart_failed(self, difference: Plan, members: Mapping[SlotKey, Member]) -> None:
        """Start slots again that have failed for good, even if their configuration is the same."""
        changed = {key for step in difference.steps for key in step}
        for key, member in members.items():
            if key not in changed and not member.retired and member.slot.state in FINAL:
                self._fleet.replace(key, ExitClass.RELOADED, hold=False)

    def _roll_out(self, steps: Sequence[frozenset[SlotKey]], reason: ExitClass) -> Change:
        self.rollout = self.rollout.then(steps, reason)
        return Change(replaced=_names(key for step in steps for key in sorted(step)))

    def _kept_members(self) -> dict[SlotKey, Member]:
        """Return the slots that are not to be removed."""
        return {member.key: member for member in self._fleet.members if not member.retired}

    def _require(self, consumer: str | None) -> None:
        if consumer is not None and consumer not in self.config.consumers:
            names = ", ".join(self.config.consumers)
            raise ChangeRefusedError(f"there is no consumer {consumer!r}; there are {names}")


def _names(keys: Iterable[SlotKey]) -> tuple[str, ...]:
    return tuple(str(key) for key in keys)


def _has_current_model(member: Member) -> bool:
    """Return whether its process consumes the model that the configuration names now."""
    running = member.running or member.start
    return bool(running.consumer["model"] == member.start.consumer["model"])


def _waits_for_partitions(member: Member, wanted: Start) -> bool:
    """Return whether its process waits for its partitions, and `wanted` adds only those."""
    running = member.running
    if running is None or member.slot.state not in RUNNING:
        return False
    if "partitions" not in running.consumer or running.consumer["partitions"]:
        return False
    with_partitions = {**running.consumer, "partitions": wanted.consumer.get("partitions")}
    return bool(wanted == replace(running, consumer=with_partitions))
