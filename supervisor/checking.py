"""`flowodm-supervisor check`: what a configuration comes to, without starting anything.

Handlers and models are imported in a child process, so that nothing of theirs, good or bad,
happens in this one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from supervisor.member import start_frame
from supervisor.protocol import Identity, Logging, encode

if TYPE_CHECKING:
    from supervisor.config import SupervisorConfig
    from supervisor.consumer_table import ConsumerTable

IMPORT_TIMEOUT = 60.0
"""Seconds that the imports of all consumers may take together."""
_PROGRAM = "from supervisor.inspection import main; main()"


@dataclass(frozen=True, slots=True)
class Checked:
    """One consumer, checked.

    Attributes:
        consumer: Its name.
        problem: What is wrong with it; "" if nothing is.
        facts: What it comes to, by caption.
    """

    consumer: str
    problem: str = ""
    facts: dict[str, str] = field(default_factory=dict)


def check(config: SupervisorConfig) -> list[Checked]:
    """Import what each consumer names, and say what it comes to.

    Blocks for as long as the imports take, `IMPORT_TIMEOUT` at most.
    """
    told = _imported(config)
    checked = []
    for name, table in config.consumers.items():
        answer = told[name]
        if problem := answer.pop("problem", ""):
            checked.append(Checked(name, problem))
        else:
            checked.append(Checked(name, facts={**answer, **_facts(table)}))
    return checked


def _imported(config: SupervisorConfig) -> dict[str, dict[str, str]]:
    frames = b"".join(
        encode(start_frame(config, Identity("check", name, 0), table.slots()[0], Logging("error")))
        for name, table in config.consumers.items()
    )
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", _PROGRAM],
            input=frames,
            stdout=subprocess.PIPE,
            timeout=IMPORT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        end = f"did not end: all imports together took longer than {IMPORT_TIMEOUT:g} s"
        return _answers(error.stdout or b"", end, config)
    end = f"ended the process, with exit status {child.returncode}"
    return _answers(child.stdout, end, config)


def _answers(told: bytes, end: str, config: SupervisorConfig) -> dict[str, dict[str, str]]:
    """What the child said of each consumer; `end` is what became of the one it was at."""
    answers: dict[str, dict[str, str]] = {}
    begun = ""
    for line in told.splitlines():
        answer = json.loads(line)
        begun = answer.pop("begun", begun)
        if "consumer" in answer:
            answers[answer.pop("consumer")] = answer
    for name in config.consumers:
        if name == begun or not begun:
            problem = f"importing what it names {end}"
        else:
            problem = f"was not looked at: importing what consumers.{begun} names {end}"
        answers.setdefault(name, {"problem": problem})
    return answers


def _facts(table: ConsumerTable) -> dict[str, str]:
    if table.partition_groups is not None:
        groups = "; ".join(", ".join(map(str, group)) for group in table.partition_groups)
        workers = f"{len(table.partition_groups)}, pinned to partitions {groups}"
    else:
        workers = f"{table.workers or 1}, sharing the group's partitions ({table.membership})"
    return {"workers": workers, "delivery": guarantee(table), "failures": failures(table)}


def guarantee(table: ConsumerTable) -> str:
    """A consumer's delivery guarantee, with the number that a crash costs."""
    if table.commit_strategy == "after_processing":
        interval = 1.0 if table.commit_interval is None else table.commit_interval
        return (
            "at least once: committed after processing; a crash repeats what was handled since "
            f"the last commit, {interval:g} s at most while Kafka answers"
        )
    ahead = 0.1 if table.commit_ahead is None else table.commit_ahead
    if ahead == 0:
        return "at most once: committed before processing; a crash loses one record a worker"
    return (
        "at most once: committed before processing; a crash loses what was committed ahead, "
        f"about {ahead * 1000:g} ms of work a worker"
    )


def failures(table: ConsumerTable) -> str:
    """What becomes of a record whose handler raises."""
    retries = table.max_retries or 0
    first = f"{retries} retries, then " if retries else ""
    if table.error_handler:
        return f"{first}{table.error_handler} gets it"
    default = "stop" if table.commit_strategy == "after_processing" else "skip"
    if (table.on_failure or default) == "stop":
        return f"{first}the worker stops; the record is not committed"
    return f"{first}it is logged, counted and skipped"
