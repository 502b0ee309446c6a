"""`flowodm-supervisor check`: what each consumer would do, and what is wrong with it.

Handlers and models are imported in a child process, so that their code has no effect in this one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from supervisor.check import timeouts, topics
from supervisor.config.topic_size import ONLINE_TIMEOUT, TopicMetadata
from supervisor.config.values import seconds
from supervisor.fleet.configured_slots import start_frame
from supervisor.protocol import Identity, Logging, encode

if TYPE_CHECKING:
    from supervisor.config.config import SupervisorConfig
    from supervisor.config.consumer import ConsumerTable
    from supervisor.config.problems import Problem
    from supervisor.config.values import StartPosition

IMPORT_TIMEOUT = 60.0
"""Seconds that the imports of all consumers may take together."""
_CHILD = "from supervisor.check.child import main; main"
"""Program of the child, but for the arguments."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of one consumer has shown.

    Attributes:
        consumer: Its name.
        problems: Everything that is wrong with it, each with its key.
        facts: What it does, by caption; empty if there are problems.
        warnings: What works, but probably not as intended.
    """

    consumer: str
    problems: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the child answers for a consumer; see `supervisor.check.rehearsal.Rehearsal`."""

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    topics: dict[str, Any] | None = None


def check(config: SupervisorConfig, *, online: bool = False) -> list[Checked]:
    """Do what a start of each consumer does, except to connect.

    Blocks for as long as the imports take, `IMPORT_TIMEOUT` at most.

    Args:
        config: The configuration.
        online: Whether to ask the brokers for the topics as well, which takes `ONLINE_TIMEOUT`
            more at most.
    """
    answers = _ask_child(config, online=online)
    return [_checked(config, name, answers[name]) for name in config.consumers]


def _checked(config: SupervisorConfig, name: str, answer: _Answer) -> Checked:
    table = config.consumers[name]
    metadata = None if answer.topics is None else TopicMetadata(**answer.topics)
    problems = [_with_key(name, table, problem) for problem in answer.problems]
    warnings = list(timeouts.consumer_warnings(config, name, answer.properties))
    if metadata is not None:
        problems += map(str, topics.problems(config, name, metadata))
        warnings += topics.warnings(config, name, metadata)
    if problems:
        return Checked(name, tuple(problems), warnings=tuple(warnings))
    facts = {**answer.facts, **_facts(table, metadata), "stop": _stop(config, name)}
    return Checked(name, facts=facts, warnings=tuple(warnings))


def _with_key(consumer: str, table: ConsumerTable, problem: str) -> str:
    """Put the key of a problem in front of it, unless it is there."""
    place = f"consumers.{consumer}"
    if problem.startswith("kafka.options."):
        keys = [f'kafka.options."{name}"' for name in table.kafka.options]
        return f"{place}.{problem}" if problem.startswith(tuple(keys)) else problem
    return problem if problem.startswith((place, "kafka.")) else f"{place}: {problem}"


def _ask_child(config: SupervisorConfig, *, online: bool) -> dict[str, _Answer]:
    timeout = IMPORT_TIMEOUT + (ONLINE_TIMEOUT if online else 0)
    frames = b"".join(
        encode(
            start_frame(
                config, Identity("check", name, 0), table.slots()[0], logging=Logging("error")
            )
        )
        for name, table in config.consumers.items()
    )
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", f"{_CHILD}(online={online})"],
            input=frames,
            stdout=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        end = f"did not end: all imports together took longer than {timeout:g} s"
        return _answers(error.stdout or b"", end, config)
    end = f"ended the process, with exit status {child.returncode}"
    return _answers(child.stdout, end, config)


def _answers(output: bytes, end: str, config: SupervisorConfig) -> dict[str, _Answer]:
    """Read the child's answer for each consumer.

    Args:
        output: What the child has written.
        end: How the child ended, for the consumers that it did not answer for.
        config: The configuration, with all consumers.
    """
    answers: dict[str, _Answer] = {}
    begun = ""
    for line in output.splitlines():
        answer = json.loads(line)
        begun = answer.pop("begun", begun)
        if "consumer" in answer:
            consumer = answer.pop("consumer")
            answers[consumer] = _Answer(**answer)
    for name in config.consumers:
        if name == begun or not begun:
            problem = f"importing its code {end}"
        else:
            problem = f"was not checked: importing the code of consumers.{begun} {end}"
        answers.setdefault(name, _Answer(problems=[problem]))
    return answers


def workers(table: ConsumerTable, metadata: TopicMetadata | None = None) -> str:
    """Say how many workers a consumer has, and which partitions they consume.

    Args:
        table: The consumer.
        metadata: The broker's answer about its topic, if it was asked.
    """
    size = table.partitions_per_worker
    if size is not None and metadata is None:
        return f"as many as the topic needs with {size} partitions pinned to each"
    if table.pinned is None:
        return f"{table.workers or 1}, sharing the group's partitions ({table.membership})"
    groups = table.slots(None if metadata is None else metadata.partitions[metadata.topic])
    partitions = "; ".join(", ".join(map(str, group)) for group in groups if group is not None)
    more = ", and more when the topic grows" if size is not None else ""
    return f"{len(groups)}, pinned to partitions {partitions}{more}"


def _facts(table: ConsumerTable, metadata: TopicMetadata | None) -> dict[str, str]:
    facts = {
        "workers": workers(table, metadata),
        "delivery": guarantee(table),
        "failures": failures(table),
    }
    if table.batch_size is not None:
        wait = table.effective("batch_timeout")
        facts["batches"] = f"up to {table.batch_size} messages, or those of {wait:g} s"
    if table.start_from is not None:
        facts["starts"] = f"{start(table.start_from)}, if nothing is committed"
    return facts


def _stop(config: SupervisorConfig, name: str) -> str:
    drain, kill = config.drain_timeout_of(name), config.supervisor.kill_delay
    return (
        f"handlers get {seconds(drain)} to finish, SIGTERM follows, and SIGKILL {seconds(kill)} "
        "later"
    )


def guarantee(table: ConsumerTable) -> str:
    """State a consumer's delivery guarantee, with what a crash loses or repeats."""
    if table.commit_strategy == "after_processing":
        interval = table.effective("commit_interval")
        return (
            "at least once: committed after processing; a crash of a worker loses nothing, and "
            f"repeats what it handled since its last commit, {interval:g} s at most while Kafka "
            "answers, and what was in flight; a stop repeats nothing"
        )
    ahead = table.effective("commit_ahead")
    lost = f" and what was committed ahead, about {ahead * 1000:g} ms of work" if ahead else ""
    return (
        "at most once: committed before processing; a crash of a worker repeats nothing, and "
        f"loses what was in flight{lost}; a stop loses nothing"
    )


def failures(table: ConsumerTable) -> str:
    """Say what happens to a message whose handler raises."""
    retries = _retries(table)
    if table.dead_letter_topic:
        return f"{retries}{_dead_letters(table)}"
    if table.error_handler:
        return f"{retries}{table.error_handler} is called"
    default = "stop" if table.commit_strategy == "after_processing" else "skip"
    if (table.on_failure or default) == "stop":
        return f"{retries}the worker stops; the message is not committed"
    return f"{retries}it is logged, counted and skipped"


def _dead_letters(table: ConsumerTable) -> str:
    text = f"a copy goes to {table.dead_letter_topic}"
    if table.error_handler:
        text += f", then {table.error_handler} is called"
    limit = table.effective("dead_letter_limit")
    if limit < 1:
        text += (
            f"; the worker stops if more than {limit * 100:g}% of the last 100 messages go there"
        )
    return text


def _retries(table: ConsumerTable) -> str:
    """Say what comes before the last failure; "" for nothing."""
    if not table.max_retries:
        return ""
    only = f" of {', '.join(table.retry_on)}" if table.retry_on else ""
    never = f", never of {', '.join(table.never_retry)}" if table.never_retry else ""
    count = "1 retry" if table.max_retries == 1 else f"{table.max_retries} retries"
    return f"{count}{only}{never}, then "


def start(position: StartPosition) -> str:
    """Say where a group begins."""
    match position:
        case datetime():
            return f"at the first record since {position.isoformat()}"
        case int():
            return f"at offset {position}"
        case dict():
            each = (f"{offset} of partition {at}" for at, offset in sorted(position.items()))
            return f"at offset {', '.join(each)}"
        case _:
            return f"at the {position} record"
