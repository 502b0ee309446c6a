"""The child of `check`: imports what consumers name and answers in JSON lines."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from supervisor.protocol import Decoder, Start

if TYPE_CHECKING:
    from typing import TextIO


def main() -> None:
    """Read Start frames from stdin, answer each with two lines on stdout: begun, and the answer.

    Does not return: threads that the user's modules began may run for ever.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the user's modules print is no answer
    for frame in Decoder().feed(sys.stdin.buffer.read()):
        if isinstance(frame, Start):
            name = frame.identity.consumer
            _say(answers, {"begun": name})
            _say(answers, {"consumer": name, **_describe(frame)})
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _say(answers: TextIO, answer: dict[str, str]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _describe(start: Start) -> dict[str, str]:
    try:
        from supervisor.worker import describe  # noqa: PLC0415 - its failure is an answer too

        return describe(start)
    except BaseException as error:  # noqa: BLE001 - a module may even call sys.exit on import
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        kind = "" if type(error).__name__ == "DefinitionError" else f"{type(error).__name__}: "
        return {"problem": f"{kind}{error}{notes}"}
