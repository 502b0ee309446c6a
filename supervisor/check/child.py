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
"""Errors whose text says it all, by name: flowodm may be what cannot be imported."""


def main(*, online: bool = False) -> None:
    """Read Start frames from stdin, answer each with two lines on stdout: begun, and the answer.

    Does not return: threads that the user's modules began may run for ever.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the user's modules print is no answer
    broker = Broker() if online else None
    for frame in Decoder().feed(sys.stdin.buffer.read()):
        if isinstance(frame, Start):
            name = frame.identity.consumer
            _say(answers, {"begun": name})
            _say(answers, {"consumer": name, **_answer(frame, broker)})
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _say(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _answer(start: Start, broker: Broker | None) -> dict[str, object]:
    try:
        from supervisor.check.rehearsal import rehearse  # noqa: PLC0415 - its failure is an answer

        found = rehearse(start, broker)
    except BaseException as error:  # noqa: BLE001 - the last frame that can say what happened
        return {"facts": {}, "problems": [_problem(error, start)], "properties": {}, "seen": None}
    seen = None if found.seen is None else asdict(found.seen)
    if seen is not None:
        seen["error"] = Redactor(start.secrets)(seen["error"])
    return {
        "facts": found.facts,
        "problems": [_problem(error, start) for error in found.errors],
        "properties": found.properties,
        "seen": seen,
    }


def _problem(error: BaseException, start: Start) -> str:
    """What is wrong, beginning with the key if it is known."""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    expected = any(kind.__name__ in _EXPECTED for kind in type(error).__mro__)
    text = f"{'' if expected else f'{type(error).__name__}: '}{error}{notes}".strip()
    options = start.kafka.get("options", {})
    if named := [name for name in options if f'"{name}"' in text]:
        text = f'kafka.options."{named[0]}": {text}'
    return Redactor(start.secrets)(text)
