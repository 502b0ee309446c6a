"""A batch is cut so that every record keeps its own fate."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.engine.lanes import Lane
from flowodm.consumer.engine.run import Run
from flowodm.consumer.handling.batch import batch_failure, gather, settle_batch
from flowodm.consumer.handling.recipe import Recipe
from flowodm.events import Outcome, Stage
from flowodm.exceptions import BatchError
from support.fake_records import FakeRecord


class Owner:
    """Stands for the partition's lanes."""

    partition = None


GOOD, POISON, TOMBSTONE, UNWANTED = b"good", b"poison", None, b"unwanted"


def decode(value: bytes) -> str:
    if value == POISON:
        raise ValueError("poison")
    return value.decode()


def recipe(*, tombstones: bool = False) -> Recipe:
    return Recipe(
        decode=decode,
        load_schema=print,
        call=print,
        give_up=print,
        recover=print,
        accepts=lambda record: record.value() != UNWANTED,
        tombstone=print if tombstones else None,
        batches=True,
    )


def run_of(*values: bytes | None) -> Run:
    records = [FakeRecord(n, data=value) for n, value in enumerate(values)]
    return Run(Lane(Owner(), None), records, now=10.0, whole=True)


def test_all_good_records_are_one_batch():
    batch, failure = gather(recipe(), run_of(GOOD, GOOD, GOOD))

    assert (batch.places, batch.end, failure) == ([0, 1, 2], 3, None)


@pytest.mark.parametrize("at", [1, 2])
def test_a_batch_ends_before_a_record_that_cannot_be_read(at):
    values = [GOOD] * 3
    values[at] = POISON

    batch, failure = gather(recipe(), run_of(*values))

    assert (batch.end, len(batch.messages), failure) == (at, at, None)


def test_a_first_record_that_cannot_be_read_is_its_own_failure():
    batch, failure = gather(recipe(), run_of(POISON, GOOD))

    assert batch.end == 0
    assert (failure.stage, failure.batch) == (Stage.DESERIALIZE, None)


def test_tombstones_and_unwanted_records_are_settled_with_the_batch_they_are_in():
    run = run_of(UNWANTED, GOOD, TOMBSTONE, GOOD)
    batch, _ = gather(recipe(), run)

    settle_batch(run, batch, batch.end, now=10.4)

    assert batch.places == [1, 3]
    assert run.outcomes == {0: Outcome.FILTERED, 2: Outcome.TOMBSTONE}
    assert run.done == 4


@pytest.mark.parametrize(("values", "end"), [((GOOD, TOMBSTONE, GOOD), 1), ((TOMBSTONE, GOOD), 0)])
def test_a_tombstone_with_a_handler_is_not_part_of_a_batch(values, end):
    batch, failure = gather(recipe(tombstones=True), run_of(*values))

    assert (batch.end, failure) == (end, None)


def test_the_records_of_a_batch_share_its_time_evenly():
    run = run_of(*[GOOD] * 4)
    batch, _ = gather(recipe(), run)

    settle_batch(run, batch, batch.end, now=12.0)

    assert run.ticks == pytest.approx([10.5, 11.0, 11.5, 12.0])


@given(
    values=st.lists(st.sampled_from([GOOD, TOMBSTONE, UNWANTED]), min_size=1).filter(
        lambda values: GOOD in values
    ),
    index=st.integers(0, 30),
)
def test_the_index_of_a_failure_means_the_list_that_the_handler_got(values, index):
    run = run_of(*values)
    batch, _ = gather(recipe(), run)
    index %= len(batch.messages)

    failure = batch_failure(run, batch, BatchError(index), now=11.0)

    assert values[run.done] == GOOD
    assert values[: run.done].count(GOOD) == index
    assert len(run.ticks) == run.done
    assert (failure.batch, failure.message) == (None, "good")


def test_the_cause_of_a_batch_error_is_the_failure_of_its_record():
    run, cause = run_of(GOOD, GOOD), KeyError("why")
    batch, _ = gather(recipe(), run)
    error = BatchError(1)
    error.__cause__ = cause

    assert batch_failure(run, batch, error, now=11.0).error is cause


@pytest.mark.parametrize("index", [-1, 2, 10**9])
def test_an_index_outside_of_the_batch_makes_it_a_failure_of_all(index):
    run = run_of(GOOD, GOOD)
    batch, _ = gather(recipe(), run)

    failure = batch_failure(run, batch, BatchError(index), now=11.0)

    assert failure.batch is batch
    assert run.done == 0
    assert "no message" in failure.error.__notes__[0]


@pytest.mark.parametrize("index", ["0", 1.0, None])
def test_an_index_that_is_no_number_is_refused(index):
    with pytest.raises(TypeError):
        BatchError(index)


def test_what_comes_before_the_first_message_is_no_part_of_the_failure():
    run = run_of(TOMBSTONE, GOOD, GOOD)
    batch, _ = gather(recipe(), run)

    failure = batch_failure(run, batch, ValueError(), now=11.0)

    assert run.done == 1
    assert run.outcomes == {0: Outcome.TOMBSTONE}
    assert failure.message == batch.message(1)


@given(st.lists(st.sampled_from([GOOD, TOMBSTONE, UNWANTED, POISON]), max_size=20))
def test_every_record_is_settled_once_or_is_a_failure_of_its_own(values):
    run = run_of(*values)
    failed = []

    while run.done < len(values):
        batch, failure = gather(recipe(), run)
        if failure is not None:
            failed.append(run.done)
            run.ticks.append(11.0)
            run.done += 1
        else:
            assert batch.end > run.done
            settle_batch(run, batch, batch.end, now=11.0)

    assert failed == [n for n, value in enumerate(values) if value == POISON]
    assert len(run.ticks) == len(values)
    assert all(map(operator.le, run.ticks, run.ticks[1:]))
