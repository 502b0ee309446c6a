"""Which schema can read which, and what is said where it cannot."""

from __future__ import annotations

from io import BytesIO

import fastavro
import pytest
from fastavro.utils import generate_one

from flowodm import FlowBaseModel, SchemaValidationError, check_compatibility
from flowodm.avro.compatibility import obstacles
from flowodm.avro.parsing import parsed
from flowodm.schema.levels import Level
from support.schema_changes import CHANGES, of


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_each_change_is_open_or_closed_each_way_and_says_why(change):
    old, new = parsed(change.old), parsed(change.new)

    backward, forward = obstacles(old, new), obstacles(new, old)

    assert (not backward, not forward) == (change.backward, change.forward)
    for reason in change.reasons:
        assert any(reason in text for text in backward + forward), backward + forward


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_what_is_said_to_be_readable_is_read_by_fastavro(change):
    for writer, reader, readable in (
        (change.old, change.new, change.backward),
        (change.new, change.old, change.forward),
    ):
        stream = BytesIO()
        parsed_writer = fastavro.parse_schema(writer)
        # Random bytes are hardly ever text.
        value = {"value": b"x"} if writer == of("bytes") else generate_one(parsed_writer)
        fastavro.schemaless_writer(stream, parsed_writer, value)
        stream.seek(0)
        if readable:
            fastavro.schemaless_reader(stream, parsed_writer, fastavro.parse_schema(reader))


def test_a_decimal_of_another_scale_cannot_be_read():
    def decimal(precision, scale):
        mark = {"logicalType": "decimal", "precision": precision, "scale": scale}
        return parsed(of({"type": "bytes", **mark}))

    assert obstacles(decimal(9, 2), decimal(12, 2)) == []
    assert "scale 3" in obstacles(decimal(9, 2), decimal(9, 3))[0]
    assert "4 digits" in obstacles(decimal(9, 2), decimal(4, 2))[0]


def test_every_obstacle_is_told():
    old, new = parsed(of("int")), parsed({**of("string"), "name": "Order"})
    new["fields"] += [{"name": "b", "type": "int"}, {"name": "c", "type": "int"}]

    assert [text.split(":")[0] for text in obstacles(old, new)] == [
        "Order.value",
        "Order.b",
        "Order.c",
    ]


def test_levels_say_which_way_and_how_far():
    ways = {
        level.value: (level.reads_old, level.is_read_by_old, level.transitive) for level in Level
    }
    assert ways == {
        "NONE": (False, False, False),
        "BACKWARD": (True, False, False),
        "BACKWARD_TRANSITIVE": (True, False, True),
        "FORWARD": (False, True, False),
        "FORWARD_TRANSITIVE": (False, True, True),
        "FULL": (True, True, False),
        "FULL_TRANSITIVE": (True, True, True),
    }
    assert Level.named("full") is Level.FULL
    with pytest.raises(ValueError, match=r"'SIDEWAYS'.*must be one of NONE, BACKWARD"):
        Level.named("SIDEWAYS")


def test_a_model_that_is_not_written_as_avro_has_no_avro_compatibility():
    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"
            value_serializer = "json"

    with pytest.raises(SchemaValidationError, match="Order is written as json"):
        check_compatibility(Order, "orders-value")
