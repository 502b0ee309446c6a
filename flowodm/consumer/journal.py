"""The log of a loop: one line for each thing that an operator acts on, none a record."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, assert_never

from flowodm.events import (
    Abandoned,
    Blocked,
    Committed,
    DeadLettered,
    Failed,
    Handled,
    LoopStatus,
    Outcome,
    Rebalanced,
    RebalanceKind,
    StateChanged,
    Trouble,
)
from flowodm.exceptions import LONGEST_SUMMARY, summary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowodm.events import TP, Event

#: Seconds for which the same trouble is not logged again. It is counted every time.
REPEAT_AFTER = 30.0


class Journal:
    """An observer that writes to the ``flowodm.consumer`` logger of the standard library.

    The message reads well by itself; the same facts are in the record's ``flowodm`` attribute,
    a dict, for those who log in JSON.

    Args:
        name: The loop's name in the log: its group.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._log = logging.getLogger("flowodm.consumer")
        self._said: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Log what is worth a line."""
        match event:
            case StateChanged(state):
                self._say(logging.INFO, "loop state changed", state=state.value)
            case Failed():
                self._failed(event)
            case Committed(_, None) | LoopStatus() | DeadLettered():
                pass  # the failure before a dead letter has its line
            case Blocked(seconds, where):
                held = round(seconds, 1)
                self._rarely(where, "handler blocks the event loop", seconds=held, where=where)
            case Committed(offsets, error):
                self._rarely(f"commit {error}", "commit failed", error=error, of=_list(offsets))
            case Rebalanced(kind, partitions):
                quiet = kind in {RebalanceKind.ASSIGNED, RebalanceKind.REVOKED}
                level = logging.INFO if quiet else logging.WARNING
                self._say(level, f"partitions {kind.value}", partitions=_list(partitions))
            case Handled():
                self._lost(event)
            case Trouble(code, message):
                self._rarely(code, "kafka client reports trouble", code=code, error=message)
            case Abandoned(records):
                self._say(logging.ERROR, "drain deadline passed", unfinished=records)
            case _:
                assert_never(event)

    def _lost(self, event: Handled) -> None:
        if lost := event.outcomes.get(Outcome.LOST):
            place = {"topic": event.topic, "partition": event.partition}
            self._say(logging.ERROR, "committed records not handled", lost=lost, **place)

    def _failed(self, event: Failed) -> None:
        fields: dict[str, object] = {
            "stage": event.stage.value,
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
            "failures": event.failures,
            "error": summary(event.error),
            "next": event.consequence,
        }
        if event.delay is not None:
            fields["retry_in"] = round(event.delay, 3)
        final = event.consequence in {"skip", "stop"}
        level = logging.ERROR if final else logging.WARNING
        endless = len(summary(event.error)) > LONGEST_SUMMARY  # the traceback would repeat it
        cause = event.error if final and not endless else None
        self._write(level, "record failed", fields, cause)

    def _rarely(self, key: str, what: str, **fields: object) -> None:
        now = time.monotonic()
        if now - self._said.get(key, float("-inf")) < REPEAT_AFTER:
            return
        if len(self._said) > 100:  # noqa: PLR2004 - a bound, so that odd texts cannot pile up
            self._said.clear()
        self._said[key] = now
        self._say(logging.WARNING, what, **fields)

    def _say(self, level: int, what: str, **fields: object) -> None:
        self._write(level, what, fields)

    def _write(
        self,
        level: int,
        what: str,
        fields: dict[str, object],
        cause: BaseException | None = None,
    ) -> None:
        named = {"group": self._name, **fields}
        text = " ".join(f"{key}={value}" for key, value in named.items())
        facts = {"flowodm": {"event": what, **named}}
        self._log.log(level, "%s %s", what, text, exc_info=cause, extra=facts)


def _list(partitions: Iterable[TP]) -> str:
    return ",".join(f"{topic}[{number}]" for topic, number in sorted(partitions)) or "none"
