"""Bytes to messages and back, without a real registry."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any

import fastavro
import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from flowodm import FlowBaseModel
from flowodm.avro import wire
from flowodm.avro.codec import Codec, SchemaNotLoadedError, codec_for
from flowodm.exceptions import (
    DeserializationError,
    RegistryUnavailableError,
    SchemaValidationError,
    SerializationError,
)
from flowodm.registry.client import UnknownSchemaIdError


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    order_id: str
    amount: float
    quantity: int = 1
    paid: bool = False
    at: datetime | None = None


class Registry:
    """What a codec needs of a schema registry, in memory."""

    def __init__(self, **schemas: Any) -> None:
        self.schemas = {int(name.removeprefix("id")): schema for name, schema in schemas.items()}
        self.registered: list[tuple[str, Any]] = []
        self.down = False

    def schema(self, schema_id: int) -> Any:
        if self.down:
            raise RegistryUnavailableError("down")
        if schema_id not in self.schemas:
            raise UnknownSchemaIdError(f"no {schema_id}")
        return self.schemas[schema_id]

    def register(self, subject: str, schema: Any, _schema_type: str = "AVRO") -> int:
        if self.down:
            raise RegistryUnavailableError("down")
        self.registered.append((subject, schema))
        self.schemas[77] = schema
        return 77


def bare(model: type[BaseModel] = Order) -> Codec[Any]:
    return Codec(model, subject="orders-value")


def framed(registry: Registry, model: type[BaseModel] = Order) -> Codec[Any]:
    return Codec(model, subject="orders-value", registry=registry)  # type: ignore[arg-type]


def written(schema: dict[str, Any], values: dict[str, Any]) -> bytes:
    """As another program would write it."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), values)
    return stream.getvalue()


ORDER = Order(order_id="o-1", amount=9.5, quantity=3, paid=True)
OLD = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "amount", "type": "float"},
        {"name": "coupon", "type": ["null", "string"]},
        {"name": "order_id", "type": "string"},
        {"name": "quantity", "type": "int"},
    ],
}
OLD_VALUES = {"amount": 1.5, "coupon": "x", "order_id": "o-7", "quantity": 4}


class TestWithoutARegistry:
    def test_a_record_is_bare_avro(self):
        codec = bare()
        assert codec.encode(ORDER) == written(codec.schema, ORDER.model_dump())
        assert codec.decode(codec.encode(ORDER)) == ORDER

    def test_trailing_bytes_are_an_error(self):
        with pytest.raises(DeserializationError, match="bytes after its last field"):
            bare().decode(bare().encode(ORDER) + b"\x00")

    def test_a_record_cut_short_is_an_error(self):
        data = bare().encode(ORDER)
        for length in range(len(data)):
            with pytest.raises(DeserializationError):
                bare().decode(data[:length])

    def test_a_bare_record_that_begins_with_a_zero_byte_keeps_its_five_bytes(self):
        empty_name = Order(order_id="", amount=0.0)
        data = bare().encode(empty_name)
        assert data[0] == 0
        assert bare().decode(data) == empty_name

    def test_a_framed_record_is_read_after_its_header(self):
        assert bare().decode(wire.header(9) + bare().encode(ORDER)) == ORDER

    def test_a_framed_record_with_trailing_bytes_is_an_error(self):
        with pytest.raises(DeserializationError):
            bare().decode(wire.header(9) + bare().encode(ORDER) + b"!")

    def test_only_a_zero_byte_makes_a_header(self):
        with pytest.raises(DeserializationError):
            bare().decode(b"\x01\x00\x00\x00\x09" + bare().encode(ORDER))

    def test_nothing_is_an_error(self):
        with pytest.raises(DeserializationError, match="end too early"):
            bare().decode(b"")


class TestWithARegistry:
    def test_the_id_in_the_header_is_that_of_the_encoding_schema(self):
        registry = Registry()
        codec = framed(registry)
        data = codec.encode(ORDER)
        schema_id = wire.schema_id_of(data)
        assert schema_id == 77
        assert registry.registered == [("orders-value", codec.schema)]
        values = fastavro.schemaless_reader(BytesIO(data[5:]), registry.schemas[schema_id], None)
        assert values == ORDER.model_dump()

    def test_the_schema_is_registered_once(self):
        registry = Registry()
        codec = framed(registry)
        codec.prepare()
        codec.encode(ORDER)
        codec.encode(ORDER)
        assert len(registry.registered) == 1

    def test_a_registry_that_is_down_fails_the_write_and_is_asked_again(self):
        registry = Registry()
        codec = framed(registry)
        registry.down = True
        with pytest.raises(RegistryUnavailableError):
            codec.encode(ORDER)
        registry.down = False
        assert wire.schema_id_of(codec.encode(ORDER)) == 77

    def test_decoding_asks_for_a_schema_that_is_not_loaded(self):
        codec = framed(Registry())
        with pytest.raises(SchemaNotLoadedError) as caught:
            codec.decode(wire.header(5) + b"x")
        assert caught.value.schema_id == 5

    def test_an_old_record_is_read_by_its_own_schema(self):
        codec = framed(Registry(id5=OLD))
        codec.load_schema(5)
        order = codec.decode(wire.header(5) + written(OLD, OLD_VALUES))
        assert order == Order(order_id="o-7", amount=1.5, quantity=4)

    def test_trailing_bytes_are_an_error_that_names_the_schema(self):
        codec = framed(Registry(id5=OLD))
        codec.load_schema(5)
        with pytest.raises(DeserializationError) as caught:
            codec.decode(wire.header(5) + written(OLD, OLD_VALUES) + b"x")
        assert caught.value.schema_id == 5
        # What hangs on it would reach the log, with the record's values in it.
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    @pytest.mark.parametrize("data", [b"", b"\x00\x00\x00\x05", b"\x01\x00\x00\x00\x05x"])
    def test_a_record_without_a_header_is_an_error_that_says_the_way_out(self, data):
        with pytest.raises(DeserializationError, match="confluent_wire_format = False"):
            framed(Registry()).decode(data)

    def test_an_unknown_id_is_a_bad_record(self):
        with pytest.raises(DeserializationError) as caught:
            framed(Registry()).load_schema(12)
        assert caught.value.schema_id == 12

    def test_a_registry_that_is_down_is_not_a_bad_record(self):
        registry = Registry(id5=OLD)
        registry.down = True
        codec = framed(registry)
        with pytest.raises(RegistryUnavailableError):
            codec.load_schema(5)
        registry.down = False
        codec.load_schema(5)
        assert codec.decode(wire.header(5) + written(OLD, OLD_VALUES)).order_id == "o-7"

    @pytest.mark.parametrize("schema", ["string", {"type": "record", "name": "X"}, {"type": "no"}])
    def test_a_schema_that_no_model_can_be_read_by_is_a_bad_record(self, schema):
        codec = framed(Registry(id5=schema))

        def read() -> None:
            codec.load_schema(5)
            codec.decode(wire.header(5))

        with pytest.raises(DeserializationError) as caught:
            read()
        assert caught.value.schema_id == 5

    def test_a_model_without_wire_format_stays_bare(self):
        codec = Codec(Order, subject="s", registry=Registry(), framed=False)  # type: ignore[arg-type]
        assert codec.decode(codec.encode(ORDER)) == ORDER
        assert codec.encode(ORDER) == bare().encode(ORDER)

    def test_a_framed_record_of_such_a_model_is_read_by_its_own_schema(self):
        codec = Codec(Order, subject="s", registry=Registry(id5=OLD), framed=False)  # type: ignore[arg-type]
        data = wire.header(5) + written(OLD, OLD_VALUES)
        with pytest.raises(SchemaNotLoadedError):
            codec.decode(data)
        codec.load_schema(5)
        assert codec.decode(data).order_id == "o-7"


class TestSettingUp:
    class Parcel(FlowBaseModel):
        class Settings:
            topic = "parcels"

        number: int
        order: Order | None = None

    def test_only_the_first_record_of_a_class_pays_for_it(self, monkeypatch):
        first = codec_for(self.Parcel)
        data = first.encode(self.Parcel(number=1, order=ORDER))

        for place in ("mapped", "parsed_record", "compile_writer", "RecordReaders"):
            monkeypatch.delattr(f"flowodm.avro.codec.{place}")
        monkeypatch.delattr("flowodm.avro.reader.compile_reader")
        monkeypatch.delattr("fastavro.parse_schema")

        codec = codec_for(self.Parcel)
        assert codec.decode(data) == self.Parcel(number=1, order=ORDER)
        assert codec.encode(codec.decode(data)) == data


class TestAnInvalidRecord:
    class Constrained(BaseModel):
        class Line(BaseModel):
            price: float = Field(gt=0)
            secret: str = Field(max_length=8)

        lines: list[Line]

        @field_validator("lines")
        @classmethod
        def fail_on_many(cls, lines: list[Any]) -> list[Any]:
            if len(lines) > 2:
                raise RuntimeError("a validator's own bug")
            return lines

    def encoded(self, *lines: dict[str, Any]) -> bytes:
        lax = self.Constrained.model_construct(
            lines=[self.Constrained.Line.model_construct(**line) for line in lines]
        )
        return bare(self.Constrained).encode(lax)

    def test_a_constraint_is_checked_and_the_field_named(self):
        data = self.encoded({"price": 1.0, "secret": "x"}, {"price": -1.0, "secret": "y"})
        with pytest.raises(DeserializationError) as caught:
            bare(self.Constrained).decode(data)
        assert caught.value.field == "lines.1.price"

    def test_the_error_does_not_quote_the_value(self):
        data = self.encoded({"price": 1.0, "secret": "hunter2hunter2"})
        with pytest.raises(DeserializationError) as caught:
            bare(self.Constrained).decode(data)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    def test_an_exception_of_a_validator_is_a_bad_record(self):
        data = self.encoded(*[{"price": 1.0, "secret": "x"}] * 3)
        with pytest.raises(DeserializationError, match="RuntimeError"):
            bare(self.Constrained).decode(data)

    @pytest.mark.parametrize(
        ("annotation", "data", "reason"),
        [
            (str, b"\x02\xff", "not UTF-8"),
            (int | None, b"\x10", "is out of range"),
            (datetime, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "out of Python's range"),
            (list[str], b"\x04\x02a", "end too early"),
        ],
    )
    def test_the_reason_is_told_in_words(self, annotation, data, reason):
        model = create_model("Holder", value=(annotation, ...))
        with pytest.raises(DeserializationError, match=reason):
            bare(model).decode(data)


class TestAValueThatDoesNotFit:
    class Holder(BaseModel):
        number: int = 0
        flag: bool = False
        real: float = 0.0
        text: str = ""
        when: datetime | None = None
        either: int | str = 0
        inner: list[Order] = []

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"number": 1.7}, "number"),
            ({"number": 2**63}, "number"),
            ({"number": None}, "number"),
            ({"flag": "no"}, "flag"),
            ({"real": "1.5"}, "real"),
            ({"real": 10**400}, "real"),
            ({"when": "today"}, "when"),
            ({"either": 1.5}, "either"),
            ({"inner": [Order.model_construct(order_id="x", amount=1.0, quantity="x")]}, "inner"),
        ],
    )
    def test_it_is_an_error_that_names_the_field(self, change, path):
        message = self.Holder().model_copy(update=change)
        with pytest.raises(SerializationError, match=rf"^Holder\.{path}"):
            bare(self.Holder).encode(message)

    def test_a_text_that_is_no_text_is_an_error(self):
        with pytest.raises(SerializationError, match="on field text"):
            bare(self.Holder).encode(self.Holder().model_copy(update={"text": 5}))

    def test_the_error_does_not_quote_the_value(self):
        message = self.Holder().model_copy(update={"text": "hunter2\ud800"})
        with pytest.raises(SerializationError) as caught:
            bare(self.Holder).encode(message)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__context__ is None


class TestTime:
    class Event(BaseModel):
        at: datetime

    def sent(self, at: datetime) -> datetime:
        codec = bare(self.Event)
        return codec.decode(codec.encode(self.Event(at=at))).at

    def test_microseconds_are_kept_and_what_is_read_is_utc(self):
        at = datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC)
        assert self.sent(at) == at
        assert self.sent(at).utcoffset() == timedelta(0)

    def test_another_zone_is_the_same_instant(self):
        at = datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        assert self.sent(at) == at

    def test_a_naive_time_is_utc_whatever_the_machines_zone(self, monkeypatch):
        import time  # noqa: PLC0415 - only this test changes the zone

        monkeypatch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        try:
            naive = datetime(2024, 7, 1, 12, 30, 0, 1)  # noqa: DTZ001 - the point of the test
            assert self.sent(naive) == naive.replace(tzinfo=UTC)
        finally:
            monkeypatch.undo()
            time.tzset()

    @pytest.mark.parametrize("at", [datetime.min, datetime.max, datetime(1969, 12, 31)])  # noqa: DTZ001, DTZ901
    def test_the_ends_of_pythons_range_come_back(self, at):
        assert self.sent(at.replace(tzinfo=UTC)) == at.replace(tzinfo=UTC)

    def test_a_recursive_models_timestamps_come_back_at_every_depth(self):
        class Version(BaseModel):
            at: datetime
            before: Version | None = None

        second = Version(at=datetime(2024, 1, 2, tzinfo=UTC))
        third = Version(at=datetime(2024, 1, 3, tzinfo=UTC), before=second)
        assert bare(Version).decode(bare(Version).encode(third)) == third

    def test_a_small_timestamp_is_not_taken_for_seconds(self):
        assert self.sent(datetime(1970, 1, 1, 0, 0, 0, 5, UTC)).microsecond == 5


class TestAliases:
    class Holder(BaseModel):
        class Inner(BaseModel):  # without populate_by_name
            value: int = Field(alias="theValue")

        inner: Inner = Field(alias="theInner")

    def test_a_model_with_aliases_comes_back(self):
        codec = bare(self.Holder)
        message = self.Holder.model_validate({"theInner": {"theValue": 4}})
        assert codec.decode(codec.encode(message)) == message

    def test_a_writer_that_uses_the_alias_is_understood(self):
        schema = {
            "type": "record",
            "name": "Holder",
            "fields": [
                {
                    "name": "theInner",
                    "type": {
                        "type": "record",
                        "name": "Inner",
                        "fields": [{"name": "theValue", "type": "int"}],
                    },
                }
            ],
        }
        codec = framed(Registry(id1=schema), self.Holder)
        codec.load_schema(1)
        data = wire.header(1) + written(schema, {"theInner": {"theValue": 4}})
        assert codec.decode(data).inner.value == 4


class TestASchemaFile:
    def test_records_are_written_by_the_file(self, tmp_path):
        path = tmp_path / "order.avsc"
        path.write_text(json.dumps({**OLD, "fields": OLD["fields"][::2]}))
        codec = Codec(Order, subject="s", schema_path=path)
        assert codec.encode(ORDER) == written({**OLD, "fields": OLD["fields"][::2]}, dict(ORDER))
        assert codec.decode(codec.encode(ORDER)) == Order(order_id="o-1", amount=9.5)

    def test_its_names_may_be_the_models_aliases(self, tmp_path):
        path = tmp_path / "holder.avsc"
        fields = [{"name": "theValue", "type": "int"}]
        path.write_text(json.dumps({"type": "record", "name": "X", "fields": fields}))
        model = TestAliases.Holder.Inner
        codec = Codec(model, subject="s", schema_path=path)
        message = model(theValue=3)
        assert codec.encode(message) == b"\x06"
        assert codec.decode(b"\x06") == message

    def test_timestamps_in_milliseconds_are_written_so(self, tmp_path):
        path = tmp_path / "event.avsc"
        millis = {"type": "long", "logicalType": "timestamp-millis"}
        fields = [{"name": "at", "type": millis}]
        path.write_text(json.dumps({"type": "record", "name": "Event", "fields": fields}))
        codec = Codec(TestTime.Event, subject="s", schema_path=path)
        at = datetime(2024, 1, 1, 0, 0, 0, 5_000, UTC)
        assert codec.decode(codec.encode(TestTime.Event(at=at))).at == at

    @pytest.mark.parametrize("text", [None, "{", '"string"', '{"type": "record"}'])
    def test_a_file_that_is_no_schema_is_an_error(self, tmp_path, text):
        path = tmp_path / "bad.avsc"
        if text is not None:
            path.write_text(text)
        with pytest.raises(SchemaValidationError):
            Codec(Order, subject="s", schema_path=path)

    def test_a_field_that_the_model_lacks_is_written_as_its_default_or_null(self, tmp_path):
        path = tmp_path / "order.avsc"
        rest = {"name": "rest", "type": "string", "default": "?"}
        schema = {**OLD, "fields": [*OLD["fields"], rest]}
        path.write_text(json.dumps(schema))
        data = Codec(Order, subject="s", schema_path=path).encode(ORDER)
        values = fastavro.schemaless_reader(BytesIO(data), schema, None)
        assert (values["coupon"], values["rest"]) == (None, "?")

    def test_a_field_that_the_model_lacks_is_an_error_where_it_must_be_there(self, tmp_path):
        path = tmp_path / "order.avsc"
        needed = {"name": "needed", "type": "string"}
        path.write_text(json.dumps({**OLD, "fields": [*OLD["fields"], needed]}))
        codec = Codec(Order, subject="s", schema_path=path)
        with pytest.raises(SerializationError, match="lacks the field needed"):
            codec.encode(ORDER)


def test_the_avro_dictionary_shows_what_is_on_the_wire():
    at = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    values = bare().to_dict(Order(order_id="x", amount=1, at=at))
    assert values == {"order_id": "x", "amount": 1.0, "quantity": 1, "paid": False, "at": at}
    assert values["at"].utcoffset() == timedelta(0)
