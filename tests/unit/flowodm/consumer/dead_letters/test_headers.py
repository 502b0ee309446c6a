"""What a dead letter carries, what is read from one, and how many a loop may write."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.dead_letters.headers import (
    BRIEF_BYTES,
    MESSAGE_BYTES,
    REPLAYS,
    STACK_TRACE_BYTES,
    DeadLetter,
    letter_headers,
)

AT = 1_700_000_000_123
MOMENT = datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)


@dataclass(frozen=True)
class Fetched:
    """What confluent_kafka's Message says of itself."""

    place: tuple[str, int, int] = ("orders", 3, 41)
    time: tuple[int, int] = (1, AT)
    name: bytes | None = b"the key"
    data: bytes | None = b"the value"
    pairs: tuple[tuple[str, bytes | None], ...] | None = None

    def topic(self):
        return self.place[0]

    def partition(self):
        return self.place[1]

    def offset(self):
        return self.place[2]

    def timestamp(self):
        return self.time

    def key(self):
        return self.name

    def value(self):
        return self.data

    def headers(self):
        return None if self.pairs is None else list(self.pairs)


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def died(record: Fetched, error: Exception, group: str = "shop", *, brief: bool = False) -> Fetched:
    """The record as it stands in the dead-letter topic."""
    headers = letter_headers(record, error, group, brief=brief)
    return replace(record, place=("orders.DLT", 0, 7), time=(1, AT + 1000), pairs=headers)


# ---- what is written ---------------------------------------------------------------------


def test_the_headers_have_the_names_and_encodings_of_spring_kafka():
    error = raised(LookupError("no such order"), OSError("table is gone"))

    headers = letter_headers(Fetched(), error, "shop", brief=False)

    assert headers[:-1] == (
        ("kafka_dlt-original-topic", b"orders"),
        ("kafka_dlt-original-partition", b"\x00\x00\x00\x03"),
        ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x00\x29"),
        ("kafka_dlt-original-timestamp", struct.pack(">q", AT)),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"shop"),
        ("kafka_dlt-exception-fqcn", b"LookupError"),
        ("kafka_dlt-exception-cause-fqcn", b"OSError"),
        ("kafka_dlt-exception-message", b"no such order"),
    )
    name, trace = headers[-1]
    assert name == "kafka_dlt-exception-stacktrace"
    assert trace.startswith(b"OSError: table is gone\n\nThe above exception")
    assert trace.endswith(b"LookupError: no such order\n")


@pytest.mark.parametrize(
    ("time", "name"),
    [((0, -1), b"NoTimestampType"), ((1, 5), b"CreateTime"), ((2, 5), b"LogAppendTime")],
)
def test_the_kind_of_timestamp_is_named_as_java_names_it(time, name):
    headers = dict(letter_headers(Fetched(time=time), ValueError(), "g", brief=False))

    assert headers["kafka_dlt-original-timestamp-type"] == name
    assert headers["kafka_dlt-original-timestamp"] == struct.pack(">q", time[1])


def test_the_records_own_headers_come_first_in_their_order_and_unchanged():
    own = (("b", b"1"), ("a", None), ("b", b"\xff\x00"), ("flowodm_replays", b"1"), ("a", b""))

    headers = letter_headers(Fetched(pairs=own), ValueError(), "g", brief=False)

    assert headers[:5] == own


def test_a_class_is_named_as_tracebacks_name_it():
    class OwnError(Exception):
        pass

    def named(error):
        return dict(letter_headers(Fetched(), error, "g", brief=False))["kafka_dlt-exception-fqcn"]

    assert named(ValueError()) == b"ValueError"
    assert named(OwnError()).decode() == f"{__name__}.{OwnError.__qualname__}"


def test_the_exception_that_was_being_handled_is_the_cause_unless_it_is_hidden():
    def fail(*, hidden):
        try:
            {}["nothing"]
        except KeyError:
            if hidden:
                raise ValueError from None
            raise ValueError  # noqa: B904 - the implicit context is what is tested

    def cause(*, hidden):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - it has no text
            fail(hidden=hidden)
        return DeadLetter.of(died(Fetched(), caught.value)).cause_class

    assert cause(hidden=False) == "KeyError"
    assert cause(hidden=True) is None


def test_an_exception_whose_text_cannot_be_shown_is_still_a_dead_letter():
    class BrokenError(Exception):
        def __str__(self):
            raise RuntimeError

    letter = DeadLetter.of(died(Fetched(), raised(BrokenError())))

    assert letter.exception_message == "(its text cannot be shown: RuntimeError)"
    assert "BrokenError" in letter.stack_trace


@given(st.text(st.characters(exclude_categories=())), st.integers(1, 3000), st.booleans())
def test_however_long_the_text_the_headers_are_bounded_and_utf8(text, times, brief):
    error = raised(ValueError(text * times))

    headers = dict(letter_headers(Fetched(), error, "g", brief=brief))

    message = headers["kafka_dlt-exception-message"]
    assert len(message) <= (BRIEF_BYTES if brief else MESSAGE_BYTES)
    shown = (text * times).encode(errors="backslashreplace")
    assert message == shown or (message.endswith(b"...") and shown.startswith(message[:-3]))
    message.decode()
    trace = headers.get("kafka_dlt-exception-stacktrace", b"")
    assert len(trace) <= STACK_TRACE_BYTES
    trace.decode()
    assert ("kafka_dlt-exception-stacktrace" in headers) is not brief


def test_of_a_long_stack_trace_the_end_is_kept():
    error = raised(ValueError("far down"), OSError("x" * 20_000))

    trace = DeadLetter.of(died(Fetched(), error)).stack_trace

    assert len(trace) == STACK_TRACE_BYTES
    assert trace.startswith("...xxx")
    assert trace.endswith("ValueError: far down\n")


# ---- what is read --------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
headers_of_users = st.lists(
    st.tuples(st.sampled_from(["a", "b", "trace-id", "kafka_other"]), st.none() | st.binary())
)
records = st.builds(
    Fetched,
    place=st.tuples(texts.filter(bool), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)),
    time=st.tuples(st.sampled_from([1, 2]), st.integers(0, 2**41)),
    name=st.none() | st.binary(),
    data=st.none() | st.binary(),
    pairs=st.none() | headers_of_users.map(tuple),
)


@given(records, texts, texts)
def test_what_was_written_is_read_again(record, group, text):
    letter = DeadLetter.of(died(record, raised(ValueError(text)), group))

    assert (letter.topic, letter.partition, letter.offset) == ("orders.DLT", 0, 7)
    original = (letter.original_topic, letter.original_partition, letter.original_offset)
    assert original == record.place
    assert letter.original_timestamp.timestamp() * 1000 == pytest.approx(record.time[1])
    assert (letter.key, letter.value) == (record.name, record.data)
    assert letter.group == group
    assert letter.exception_class == "ValueError"
    assert letter.exception_message == text
    assert letter.cause_class is None
    assert letter.original_headers == (record.pairs or ())


@given(records)
def test_a_replayed_record_has_its_own_headers_and_how_often_it_was_replayed(record):
    for times in range(1, 12):
        letter = DeadLetter.of(died(record, ValueError()))
        record = replace(record, pairs=letter.replay_headers)
        own = tuple(pair for pair in record.pairs if pair[0] != REPLAYS)
        assert record.pairs == (*own, (REPLAYS, str(times).encode()))
        assert DeadLetter.of(record).replays == times


def test_a_dead_letter_of_spring_kafka_is_read():
    spring = Fetched(
        place=("orders.DLT", 3, 0),
        pairs=(
            ("kafka_dlt-exception-fqcn", b"org.spring.ListenerExecutionFailedException"),
            ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
            ("kafka_dlt-exception-message", "kein Lager für ü".encode()),
            ("kafka_dlt-exception-stacktrace", b"org.spring...\n\tat ..."),
            ("kafka_dlt-original-topic", b"orders"),
            ("kafka_dlt-original-partition", b"\x00\x00\x00\x02"),
            ("kafka_dlt-original-offset", b"\x00\x00\x00\x01\x00\x00\x00\x00"),
            ("kafka_dlt-original-timestamp", struct.pack(">q", AT)),
            ("kafka_dlt-original-timestamp-type", b"CREATE_TIME"),
            ("kafka_dlt-original-consumer-group", b"shop"),
        ),
    )

    letter = DeadLetter.of(spring)

    assert letter == DeadLetter(
        topic="orders.DLT",
        partition=3,
        offset=0,
        timestamp=MOMENT,
        key=b"the key",
        value=b"the value",
        headers=spring.pairs,
        original_topic="orders",
        original_partition=2,
        original_offset=2**32,
        original_timestamp=MOMENT,
        group="shop",
        exception_class="org.spring.ListenerExecutionFailedException",
        exception_message="kein Lager für ü",
        cause_class="java.lang.IllegalStateException",
        stack_trace="org.spring...\n\tat ...",
    )
    assert letter.original_headers == ()


def test_springs_headers_for_a_key_that_could_not_be_decoded_are_read_too():
    pairs = (
        ("kafka_dlt-key-exception-fqcn", b"DeserializationException"),
        ("kafka_dlt-key-exception-message", b"bad key"),
        ("kafka_dlt-key-exception-stacktrace", b"at ..."),
    )

    letter = DeadLetter.of(Fetched(pairs=pairs))

    assert letter.exception_class == "DeserializationException"
    assert letter.exception_message == "bad key"
    assert letter.stack_trace == "at ..."
    assert letter.original_headers == ()


def test_a_record_without_such_headers_is_read_with_nothing_known():
    letter = DeadLetter.of(Fetched(name=None, data=None, time=(0, -1)))

    assert (letter.key, letter.value, letter.headers, letter.timestamp) == (None, None, (), None)
    assert letter.original_topic is letter.original_partition is letter.original_offset is None
    assert letter.original_timestamp is letter.group is letter.exception_class is None
    assert letter.exception_message is letter.cause_class is letter.stack_trace is None
    assert letter.replays == 0


names = st.sampled_from([name for name, _ in letter_headers(Fetched(), OSError(), "", brief=False)])
odd_values = st.none() | st.binary(max_size=12) | st.sampled_from([b"\xff" * 8, b"\x7f" * 8])


@given(st.lists(st.tuples(names | st.just(REPLAYS), odd_values), max_size=20))
def test_whatever_the_headers_hold_reading_them_never_fails(pairs):
    letter = DeadLetter.of(Fetched(pairs=tuple(pairs)))

    assert letter.replays >= 0
    assert letter.replay_headers[-1] == (REPLAYS, str(letter.replays + 1).encode())
    for number in (letter.original_partition, letter.original_offset):
        assert number is None or number >= 0


def test_what_fails_again_with_its_headers_has_both_places_and_the_last_reason():
    first = died(Fetched(pairs=(("own", b"1"),)), ValueError("first"))

    letter = DeadLetter.of(died(first, KeyError("second"), "cleanup"))

    assert (letter.original_topic, letter.original_offset) == ("orders.DLT", 7)
    assert (letter.group, letter.exception_class) == ("cleanup", "KeyError")
    topics = [value for name, value in letter.headers if name == "kafka_dlt-original-topic"]
    assert topics == [b"orders", b"orders.DLT"]
    classes = [value for name, value in letter.headers if name == "kafka_dlt-exception-fqcn"]
    assert classes == [b"KeyError"]
    back = DeadLetter.of(replace(first, pairs=letter.original_headers))
    assert (back.original_topic, back.original_offset) == ("orders", 41)
