"""Every frame survives its encoding; anything else is refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import protocol
from supervisor.protocol import (
    Abort,
    Bye,
    Decoder,
    Drain,
    Heartbeat,
    Hello,
    Identity,
    Logging,
    ProtocolError,
    Start,
    WorkerFailed,
    WorkerStage,
    decode,
    encode,
    pack,
    unpack,
)

# What cannot be encoded as UTF-8 cannot be a topic, a label or a message either.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**53)
values = st.floats(allow_nan=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
families = st.tuples(
    text,
    st.sampled_from(["counter", "gauge", "histogram"]),
    text,
    st.lists(st.tuples(text, st.dictionaries(text, text, max_size=3), values), max_size=3),
)
frames = st.one_of(
    st.builds(
        Start,
        identity=st.builds(Identity, text, text, counts),
        consumer=st.dictionaries(text, json_values, max_size=3),
        kafka=st.dictionaries(text, json_values, max_size=3),
        secrets=st.lists(text, max_size=3),
        logging=st.builds(Logging, text, st.sampled_from(["json", "console"])),
        drain_timeout=st.floats(0, 1e6),
    ),
    st.just(Drain()),
    st.just(Abort()),
    st.builds(Hello, counts),
    st.builds(WorkerStage, st.sampled_from(["starting", "running", "draining"])),
    st.builds(
        Heartbeat,
        joined=st.booleans(),
        assigned=st.lists(st.tuples(text, counts), max_size=3),
        in_flight=counts,
        buffered=counts,
        processed=counts,
        lag=st.none() | counts,
        oldest_handler_seconds=st.floats(0, 1e9),
        metrics=st.none() | st.lists(families, max_size=2).map(pack),
    ),
    st.builds(WorkerFailed, text, text),
    st.builds(Bye, st.integers(-64, 255)),
)


@given(frames)
def test_a_frame_comes_back_equal_from_one_line(frame):
    line = encode(frame)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line[:-1]) == frame


@given(st.lists(families, max_size=3))
def test_metrics_come_back_equal(sent):
    assert unpack(pack(sent)) == sent


@pytest.mark.parametrize("metrics", ["", "{}", '[["a","counter","",[["a",{},"x"]]]]'])
def test_what_is_no_metrics_is_refused(metrics):
    with pytest.raises(ProtocolError, match="no metric families"):
        unpack(metrics)


@given(st.lists(frames, max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_it_does_not_matter_how_the_stream_is_cut(sent, sizes):
    stream = b"".join(map(encode, sent))
    decoder, received, position = Decoder(), [], 0
    while position < len(stream):
        size = sizes[position % len(sizes)]
        received += decoder.feed(stream[position : position + size])
        position += size
    assert received == sent


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"{}",
        b"[]",
        b'{"v":1}',
        b'{"v":2,"frame":{"type":"drain"}}',
        b'{"v":1,"frame":{"type":"explode"}}',
        b'{"v":1,"frame":{"type":"bye"}}',
        b'{"v":1,"frame":{"type":"bye","code":"x"}}',
        b'{"v":1,"frame":{"type":"drain","soon":true}}',
        b'{"v":1,"more":1,"frame":{"type":"drain"}}',
        b'{"v":1,"frame":{"type":"drain"}} {}',
        b"\xff\xfe",
    ],
)
def test_anything_else_is_an_error(line):
    with pytest.raises(ProtocolError, match="not a frame of protocol version 1"):
        decode(line)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_frames_or_a_protocol_error(data):
    with contextlib.suppress(ProtocolError):
        list(Decoder().feed(data + b"\n"))


def test_the_error_does_not_quote_the_line():
    line = json.dumps({"v": 1, "frame": {"type": "start", "kafka": "hunter2"}}).encode()
    with pytest.raises(ProtocolError) as raised:
        decode(line)
    assert "hunter2" not in str(raised.value)


def test_an_endless_line_is_an_error_and_not_endless_memory(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_FRAME_BYTES", 1000)
    decoder = Decoder()
    for _ in range(10):
        assert list(decoder.feed(b"x" * 100)) == []
    with pytest.raises(ProtocolError, match="longer than 1000 bytes"):
        list(decoder.feed(b"x"))


def test_a_frame_that_the_other_end_would_refuse_is_not_sent(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(ProtocolError, match=r"failed frame of .* bytes is longer"):
        encode(WorkerFailed("crash", "x" * 1000))


def test_secrets_do_not_show_in_a_frames_repr():
    start = Start(
        identity=Identity("host", "orders", 0),
        consumer={"model": "shop:Order"},
        kafka={"sasl_password": "hunter2"},
        secrets=["hunter2"],
        logging=Logging(),
        drain_timeout=30,
    )
    assert "hunter2" not in repr(start)
    assert b"hunter2" in encode(start)


def test_a_members_default_name_holds_all_that_makes_it_unique():
    assert Identity("host-1", "orders", 3).member == "host-1-orders-3"
