"""What a broker says of the topics, against what the configuration wants."""

from __future__ import annotations

from supervisor.check.topics import problems, warnings
from supervisor.config.config import SupervisorConfig
from supervisor.config.topic_size import TopicMetadata


def judged(seen, **orders):
    """Problems and warnings."""
    table = {"model": "a:B", "handler": "a:b", **orders}
    config = SupervisorConfig.model_validate({"consumers": {"orders": table}})
    found = (judge(config, "orders", seen) for judge in (problems, warnings))
    return tuple([str(problem) for problem in judgement] for judgement in found)


def test_a_topic_with_a_partition_for_each_worker_is_fine():
    assert judged(TopicMetadata("t", {"t": 4}), workers=4) == ([], [])
    assert judged(TopicMetadata("t", {"t": 4}), partition_groups=[[0, 1], [2, 3]]) == ([], [])


def test_workers_without_a_partition_are_warned_of():
    (warning,) = judged(TopicMetadata("t", {"t": 3}), workers=4)[1]
    assert warning == (
        "consumers.orders.workers: 4 workers share the 3 partitions of t: 1 has nothing to do; "
        "write workers = 3, or add partitions to the topic"
    )


def test_a_topic_that_is_not_there_is_a_problem():
    ((problem,), warnings) = judged(TopicMetadata("t", {"t": 0}), dead_letter_topic="d")
    assert problem.startswith("consumers.orders.model: the topic t does not exist; create it")
    assert warnings == []


def test_partitions_that_are_not_there_are_a_problem_and_forgotten_ones_a_warning():
    problems, warnings = judged(
        TopicMetadata("t", {"t": 3}), partition_groups=[[0, 3], [5]], start_from={"3": 7}
    )
    assert problems == [
        (
            "consumers.orders.partition_groups: has partitions that t does not have: 3, 5; it "
            "has 0 to 2; remove them, or add partitions to the topic"
        ),
        (
            "consumers.orders.start_from: has partitions that t does not have: 3; it has 0 to 2; "
            "remove them, or add partitions to the topic"
        ),
    ]
    assert warnings == [
        (
            "consumers.orders.partition_groups: leaves out partitions of t: 1, 2; add them "
            "to a group, unless another supervisor has them"
        )
    ]


def test_a_size_that_needs_too_many_workers_is_a_problem():
    (problem,), _ = judged(TopicMetadata("t", {"t": 2001}), partitions_per_worker=2)
    assert problem == (
        "consumers.orders.partitions_per_worker: the 2001 partitions of t would need 1001 "
        "workers, more than 1000; write 3 or more"
    )
    assert judged(TopicMetadata("t", {"t": 5}), partitions_per_worker=2) == ([], [])


def test_a_dead_letter_topic_that_is_not_there_is_warned_of():
    seen = TopicMetadata("t", {"t": 1, "d": 0})
    problems, (warning,) = judged(seen, dead_letter_topic="d")
    assert problems == []
    assert warning.startswith("consumers.orders.dead_letter_topic: the topic d does not exist")
    assert judged(TopicMetadata("t", {"t": 1, "d": 1}), dead_letter_topic="d") == ([], [])


def test_a_broker_that_does_not_answer_is_a_problem_of_its_address():
    seen = TopicMetadata("t", error="Connection refused")
    assert judged(seen)[0][0].startswith("kafka.bootstrap_servers: no broker answers: Connection")
    (problem,) = judged(seen, kafka={"bootstrap_servers": "two:9092"})[0]
    assert problem.startswith("consumers.orders.kafka.bootstrap_servers: no broker answers")
