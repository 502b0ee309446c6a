"""`flowodm-supervisor check`: what a configuration comes to, without starting anything.

Handlers and models are imported in a child process, so that nothing of theirs, good or bad,
happens in this one.
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
_PROGRAM = "from supervisor.check.child import main; main"


@dataclass(frozen=True, slots=True)
class Checked:
    """One consumer, checked.

    Attributes:
        consumer: Its name.
        problems: All that is wrong with it, each with its place.
        facts: What it comes to, by caption; empty if there are problems.
        warnings: What works, but hardly as it is meant.
    """

    consumer: str
    problems: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the child says of a consumer."""

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Any] | None = None


def check(config: SupervisorConfig, *, online: bool = False) -> list[Checked]:
    """Do all that a start of each consumer does but for the network, and say what it comes to.

    Blocks for as long as the imports take, `IMPORT_TIMEOUT` at most.

    Args:
        config: The configuration.
        online: Ask the brokers for the topics as well; `ONLINE_TIMEOUT` more at most.
    """
    told = _imported(config, online=online)
    return [_checked(config, name, told[name]) for name in config.consumers]


def _checked(config: SupervisorConfig, name: str, answer: _Answer) -> Checked:
    table = config.consumers[name]
    seen = None if answer.seen is None else TopicMetadata(**answer.seen)
    problems = [_placed(name, table, problem) for problem in answer.problems]
    warnings = list(timeouts.of_consumer(config, name, answer.properties))
    if seen is not None:
        problems += map(str, topics.wrong(config, name, seen))
        warnings += topics.doubtful(config, name, seen)
    if problems:
        return Checked(name, tuple(problems), warnings=tuple(warnings))
    facts = {**answer.facts, **_facts(table, seen), "stop": _stop(config, name)}
    return Checked(name, facts=facts, warnings=tuple(warnings))


def _placed(consumer: str, table: ConsumerTable, problem: str) -> str:
    """A problem with its key in front."""
    place = f"consumers.{consumer}"
    if problem.startswith("kafka.options."):
        own = any(problem.startswith(f'kafka.options."{name}"') for name in table.kafka.options)
        return f"{place}.{problem}" if own else problem
    return problem if problem.startswith((place, "kafka.")) else f"{place}: {problem}"


def _imported(config: SupervisorConfig, *, online: bool) -> dict[str, _Answer]:
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
            [sys.executable, "-c", f"{_PROGRAM}(online={online})"],
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


def _answers(told: bytes, end: str, config: SupervisorConfig) -> dict[str, _Answer]:
    """What the child said of each consumer; `end` is what became of the one it was at."""
    answers: dict[str, _Answer] = {}
    begun = ""
    for line in told.splitlines():
        answer = json.loads(line)
        begun = answer.pop("begun", begun)
        if "consumer" in answer:
            consumer = answer.pop("consumer")
            answers[consumer] = _Answer(**answer)
    for name in config.consumers:
        if name == begun or not begun:
            problem = f"importing what it names {end}"
        else:
            problem = f"was not looked at: importing what consumers.{begun} names {end}"
        answers.setdefault(name, _Answer(problems=[problem]))
    return answers


def workers(table: ConsumerTable, seen: TopicMetadata | None = None) -> str:
    """How many workers a consumer has, and what each of them holds.

    Args:
        table: The consumer.
        seen: What the broker says of its topic, if it was asked.
    """
    size = table.partitions_per_worker
    if size is not None and seen is None:
        return f"as many as the topic needs with {size} partitions pinned to each"
    if table.pinned is None:
        return f"{table.workers or 1}, sharing the group's partitions ({table.membership})"
    groups = table.slots(None if seen is None else seen.partitions[seen.topic])
    told = "; ".join(", ".join(map(str, group)) for group in groups if group is not None)
    more = ", and more when the topic grows" if size is not None else ""
    return f"{len(groups)}, pinned to partitions {told}{more}"


def _facts(table: ConsumerTable, seen: TopicMetadata | None) -> dict[str, str]:
    facts = {
        "workers": workers(table, seen),
        "delivery": guarantee(table),
        "failures": failures(table),
    }
    if table.batch_size is not None:
        wait = 0.1 if table.batch_timeout is None else table.batch_timeout
        facts["batches"] = f"up to {table.batch_size} messages, or what came within {wait:g} s"
    if table.start_from is not None:
        facts["starts"] = f"{start(table.start_from)}, where nothing is committed"
    return facts


def _stop(config: SupervisorConfig, name: str) -> str:
    drain, kill = config.drain_timeout_of(name), config.supervisor.kill_delay
    return (
        f"handlers get {seconds(drain)} to finish, SIGTERM comes after that, and SIGKILL "
        f"{seconds(kill)} later"
    )


def guarantee(table: ConsumerTable) -> str:
    """A consumer's delivery guarantee, with the number that a crash costs."""
    if table.commit_strategy == "after_processing":
        interval = 1.0 if table.commit_interval is None else table.commit_interval
        return (
            "at least once: committed after processing; a crash of a worker loses nothing, and "
            f"repeats what it handled since its last commit, {interval:g} s at most while Kafka "
            "answers, and what it had in hand; a stop repeats nothing"
        )
    ahead = 0.1 if table.commit_ahead is None else table.commit_ahead
    lost = f"what was committed ahead, about {ahead * 1000:g} ms of work"
    return (
        "at most once: committed before processing; a crash of a worker repeats nothing, and "
        f"loses what it had in hand{f' and {lost}' if ahead else ''}; a stop loses nothing"
    )


def failures(table: ConsumerTable) -> str:
    """What becomes of a record whose handler raises."""
    first = _retries(table)
    handled = f"{table.error_handler} gets it" if table.error_handler else ""
    if table.dead_letter_topic:
        then = f", then {handled}" if handled else ""
        limit = 0.5 if table.dead_letter_limit is None else table.dead_letter_limit
        stop = (
            f"; the worker stops if more than {limit * 100:g}% of 100 in a row do"
            if limit < 1
            else ""
        )
        return f"{first}a copy goes to {table.dead_letter_topic}{then}{stop}"
    if handled:
        return f"{first}{handled}"
    default = "stop" if table.commit_strategy == "after_processing" else "skip"
    if (table.on_failure or default) == "stop":
        return f"{first}the worker stops; the record is not committed"
    return f"{first}it is logged, counted and skipped"


def _retries(table: ConsumerTable) -> str:
    if not table.max_retries:
        return ""
    only = f" of {', '.join(table.retry_on)}" if table.retry_on else ""
    never = f", never of {', '.join(table.never_retry)}" if table.never_retry else ""
    count = "1 retry" if table.max_retries == 1 else f"{table.max_retries} retries"
    return f"{count}{only}{never}, then "


def start(position: StartPosition) -> str:
    """Where a group begins, in words."""
    match position:
        case datetime():
            return f"with the first record from {position.isoformat()} on"
        case int():
            return f"at offset {position}"
        case dict():
            each = (f"{offset} of partition {at}" for at, offset in sorted(position.items()))
            return f"at offset {', '.join(each)}"
        case _:
            return f"at the {position} record"
