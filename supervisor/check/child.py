"""The child of `check`: imports what consumers name, builds their loops, answers in JSON lines."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from supervisor.protocol import Decoder, Start
from supervisor.redaction import Redactor
from supervisor.worker.topic_metadata import Broker

if TYPE_CHECKING:
    from typing import TextIO

_EXPECTED = {"DefinitionError", "ConfigurationError", "SchemaValidationError"}
"""Errors that are shown without their class; by name, as flowodm may fail to be imported."""


def main(*, online: bool = False) -> None:
    """Read Start frames from stdin; for each write two lines to stdout: begun, and the answer.

    Does not return: threads that the user's modules have started may run for ever.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keeps what the user's modules print out of the answers
    broker = Broker() if online else None
    for frame in Decoder().feed(sys.stdin.buffer.read()):
        if isinstance(frame, Start):
            name = frame.identity.consumer
            _write(answers, {"begun": name})
            _write(answers, {"consumer": name, **_answer(frame, broker)})
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _write(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _answer(start: Start, broker: Broker | None) -> dict[str, object]:
    try:
        from supervisor.check.rehearsal import rehearse  # noqa: PLC0415 - its failure is an answer

        rehearsal = rehearse(start, broker)
    except BaseException as error:  # noqa: BLE001 - nothing above could report it
        return {"facts": {}, "problems": [_problem(error, start)], "properties": {}, "topics": None}
    topics = None
    if rehearsal.topics is not None:
        topics = asdict(rehearsal.topics)
        topics["error"] = Redactor(start.secrets)(topics["error"])
    return {
        "facts": rehearsal.facts,
        "problems": [_problem(error, start) for error in rehearsal.errors],
        "properties": rehearsal.properties,
        "topics": topics,
    }


def _problem(error: BaseException, start: Start) -> str:
    """Say what is wrong, with the key in front if it is known."""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    expected = any(kind.__name__ in _EXPECTED for kind in type(error).__mro__)
    text = f"{error}{notes}" if expected else f"{type(error).__name__}: {error}{notes}"
    text = text.strip()
    options = start.kafka.get("options", {})
    if named := [name for name in options if f'"{name}"' in text]:
        text = f'kafka.options."{named[0]}": {text}'
    return Redactor(start.secrets)(text)
