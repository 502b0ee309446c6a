"""Messages as JSON: what Pydantic writes and reads, and nothing that would not come back."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID  # noqa: TC003 - Pydantic reads it

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
)
from pydantic.errors import PydanticInvalidForJsonSchema

from flowodm.avro import wire
from flowodm.exceptions import (
    ConfigurationError,
    DeserializationError,
    RegistryUnavailableError,
    SchemaValidationError,
    SerializationError,
)
from flowodm.model import FlowBaseModel
from flowodm.serialization.json import JsonCodec
from support.generated_models import messages


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Part(BaseModel):
    name: str
    parts: list[Part] = Field(default_factory=list)


class Everything(FlowBaseModel):
    text: str
    whole: int
    real: float
    flag: bool
    raw: bytes
    maybe: int | None
    either: int | str
    items: list[int]
    named: dict[str, float]
    some: set[int]
    pair: tuple[int, str]
    many: tuple[float, ...]
    part: Part
    colour: Colour
    size: Size
    word: Literal["a", "b"]
    price: Decimal
    id: UUID
    day: date
    clock: time
    at: datetime
    span: timedelta

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


texts = st.text(st.characters(exclude_categories=("Cs",)))
reals = st.floats(allow_nan=False, allow_infinity=False)
parts = st.recursive(
    st.builds(Part, name=texts),
    lambda inner: st.builds(Part, name=texts, parts=st.lists(inner, max_size=3)),
    max_leaves=4,
)
everything = st.builds(
    Everything,
    text=texts,
    whole=st.integers(),
    real=reals,
    flag=st.booleans(),
    raw=st.binary(),
    maybe=st.none() | st.integers(),
    either=st.integers() | texts,
    items=st.lists(st.integers()),
    named=st.dictionaries(texts, reals),
    some=st.sets(st.integers()),
    pair=st.tuples(st.integers(), texts),
    many=st.lists(reals).map(tuple),
    part=parts,
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    word=st.sampled_from(["a", "b"]),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    id=st.uuids(),
    day=st.dates(),
    clock=st.times(),
    at=st.datetimes(timezones=st.just(UTC)),
    span=st.timedeltas(timedelta(-(10**5)), timedelta(10**5)),
)


def codec(model: type[BaseModel], **options: Any) -> JsonCodec[Any]:
    return JsonCodec(model, **{"subject": "orders-value", **options})


class WithoutSchema:
    """Marks a type that has no JSON Schema."""

    @staticmethod
    def __get_pydantic_json_schema__(_schema: Any, _handler: Any) -> Any:
        raise PydanticInvalidForJsonSchema("none")


class Registry:
    """What a codec needs of a schema registry, in memory."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, Any, str]] = []
        self.down = False

    def register(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        if self.down:
            raise RegistryUnavailableError("down")
        self.registered.append((subject, schema, schema_type))
        return 77


EVERYTHING = codec(Everything)


@settings(max_examples=60)
@given(everything)
def test_every_value_comes_back_equal(message):
    assert EVERYTHING.decode(EVERYTHING.encode(message)) == message


def tells_apart(model: type[BaseModel]) -> bool:
    """JSON writes the types of some unions alike, and a tuple in an enum as a list."""
    types = [str(info.annotation) for info in model.model_fields.values()]
    return not any(
        "Unit" in text or "Union" in text or text.count("|") > text.count("| None")
        for text in types
    )


@settings(max_examples=60)
@given(messages())
def test_any_model_of_plain_data_comes_back_equal_or_is_refused(message):
    assume(tells_apart(type(message)))
    any_model = codec(type(message))
    try:
        data = any_model.encode(message)
    except SerializationError:
        return
    assert any_model.decode(data).__dict__ == message.__dict__
    assert any_model.schema()["type"] == "object"


class Order(FlowBaseModel):
    order_id: str = Field(alias="orderId")
    amount: float = 1.0
    note: str | None = None

    @computed_field
    @property
    def cents(self) -> int:
        return round(self.amount * 100)


def test_names_are_the_aliases_and_computed_fields_are_left_out():
    data = codec(Order).encode(Order(order_id="o-1"))
    assert json.loads(data) == {"orderId": "o-1", "amount": 1.0, "note": None}
    assert codec(Order).decode(data) == Order(order_id="o-1")


def test_the_fields_own_name_is_read_too():
    class Plain(BaseModel):
        order_id: str = Field(alias="orderId")

    message = Plain(orderId="o-1")
    assert codec(Plain).decode(b'{"order_id": "o-1"}') == message
    assert codec(Plain).decode(codec(Plain).encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[1]",
        b'{"orderId": 1}',
        b'{"orderId": "o", "other": 1}',
        b'{"orderId": "o"} more',
        b'{"orderId": "\xff"}',
        b"\x00\x00\x00\x00\x07",
        b"\x00\x00",
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_a_bad_record(data):
    with pytest.raises(DeserializationError, match="Order"):
        codec(Order).decode(data)


def test_an_error_of_reading_names_the_field_and_does_not_quote_the_value():
    with pytest.raises(DeserializationError) as caught:
        codec(Order).decode(b'{"orderId": "o", "amount": "secret"}')
    assert caught.value.field == "amount"
    assert "secret" not in str(caught.value)


def test_a_validator_of_any_kind_makes_a_bad_record():
    class Strict(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def check(cls, value: str) -> str:
            raise KeyError(value)

    with pytest.raises(DeserializationError, match="KeyError") as caught:
        codec(Strict).decode(b'{"name": "secret"}')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_would_turn_into_null_is_refused_by_its_place(value):
    class Nested(FlowBaseModel):
        rows: list[dict[str, float | None]]

    with pytest.raises(SerializationError, match=r"Nested\.rows\[1\]\.b.*ser_json_inf_nan"):
        codec(Nested).encode(Nested(rows=[{"a": None}, {"a": 1.0, "b": value}]))


class Measured(BaseModel):
    value: float


def not_a_number(_value: object) -> float:
    return math.nan


ANYWHERE = [
    (float, math.nan),
    (float | None, math.inf),
    (int | float | str, math.nan),
    (Any, math.nan),
    (object, math.nan),
    (list[float], [math.nan]),
    (dict[str, float], {"a": math.nan}),
    (tuple[int, float], (1, math.nan)),
    (Measured, Measured(value=math.nan)),
    (list[Measured] | None, [Measured(value=math.nan)]),
    (Annotated[int, PlainSerializer(not_a_number)], 1),
]


@pytest.mark.parametrize(("annotation", "value"), ANYWHERE)
def test_such_a_number_is_found_wherever_it_is(annotation, value):
    model = create_model("Held", value=(annotation, ...), other=(int | None, None))
    with pytest.raises(SerializationError, match=r"Held\.value"):
        codec(model).encode(model(value=value))


def test_fields_that_the_model_does_not_know_are_looked_at_too():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        name: str

    with pytest.raises(SerializationError, match=r"Open\.more"):
        codec(Open).encode(Open(name="x", more=math.nan))


def test_where_a_serializer_makes_such_a_number_it_is_found_too():
    class Shown(BaseModel):
        value: int

        @field_serializer("value")
        def show(self, _value: int) -> float:
            return math.nan

    with pytest.raises(SerializationError, match=r"Shown\.value"):
        codec(Shown).encode(Shown(value=1))


@pytest.mark.parametrize("way", ["constants", "strings"])
def test_such_numbers_are_written_where_the_model_says_how(way):
    class Told(FlowBaseModel):
        model_config = ConfigDict(ser_json_inf_nan=way)
        value: float
        other: None = None

    assert codec(Told).decode(codec(Told).encode(Told(value=math.inf))).value == math.inf


def test_bytes_that_are_no_text_are_refused_with_the_way_out():
    class Blob(FlowBaseModel):
        data: bytes

    with pytest.raises(SerializationError, match=r"Blob.*val_json_bytes"):
        codec(Blob).encode(Blob(data=b"\xff"))


def test_a_value_that_does_not_fit_is_refused_without_quoting_it():
    with pytest.raises(SerializationError, match=r"Order\.amount cannot be written") as caught:
        codec(Order).encode(Order.model_construct(order_id="o", amount="secret"))
    assert "secret" not in str(caught.value)


def test_an_odd_value_that_can_be_read_is_written():
    class Loose(FlowBaseModel):
        price: Decimal = 0.5  # type: ignore[assignment]  # what Pydantic warns of, for one

    assert codec(Loose).decode(codec(Loose).encode(Loose())).price == Decimal("0.5")


def test_a_serializer_that_fails_is_an_error_of_writing():
    class Broken(FlowBaseModel):
        name: str

        @field_serializer("name")
        def show(self, value: str) -> str:
            raise KeyError(value)

    with pytest.raises(SerializationError, match="Broken"):
        codec(Broken).encode(Broken(name="x"))


def test_a_name_that_is_written_and_not_read_is_an_error_at_first_use():
    class OneWay(BaseModel):
        name: str = Field(serialization_alias="Name")

    with pytest.raises(SchemaValidationError, match=r"OneWay\.name.*'Name'"):
        codec(OneWay)


def test_several_names_may_be_read_if_the_written_one_is_among_them():
    class Many(BaseModel):
        name: str = Field(validation_alias=AliasChoices("Name", "n"), serialization_alias="n")

    assert codec(Many).decode(codec(Many).encode(Many(n="x"))).name == "x"


def test_a_field_that_is_not_written_needs_a_default():
    class Hidden(BaseModel):
        name: str = Field(exclude=True)

    with pytest.raises(SchemaValidationError, match=r"Hidden\.name.*default"):
        codec(Hidden)


def test_with_a_registry_records_carry_the_id_of_the_models_json_schema():
    registry = Registry()
    framed = codec(Order, registry=registry)
    assert framed.framed
    assert not framed.prepared

    data = framed.encode(Order(order_id="o"))

    assert data.startswith(wire.header(77))
    assert framed.prepared
    assert framed.decode(data) == Order(order_id="o")
    framed.prepare()
    ((subject, schema, kind),) = registry.registered
    assert (subject, kind) == ("orders-value", "JSON")
    assert schema["required"] == ["orderId"]
    assert schema["title"] == "Order"


def test_a_model_without_a_json_schema_is_an_error_only_where_it_is_registered():
    class Odd(BaseModel):
        name: Annotated[Any, PlainSerializer(str), BeforeValidator(str), WithoutSchema()]

    assert codec(Odd, subject=str).decode(codec(Odd).encode(Odd(name="x"))).name == "x"
    with pytest.raises(SchemaValidationError, match="Odd has no JSON Schema"):
        codec(Odd, registry=Registry(), subject=str)


def test_the_registered_schema_is_of_draft_7():
    class Pair(BaseModel):
        pair: tuple[int, str]
        rest: tuple[int, ...]

    schema = codec(Pair).schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    items = [{"type": "integer"}, {"type": "string"}]
    expected = {"type": "array", "items": items, "minItems": 2, "maxItems": 2, "title": "Pair"}
    assert schema["properties"]["pair"] == expected
    assert schema["properties"]["rest"]["items"] == {"type": "integer"}


def test_without_wire_format_records_are_plain_json():
    plain = codec(Order, registry=Registry(), framed=False)
    assert plain.encode(Order(order_id="o")).startswith(b"{")
    assert plain.prepared


def test_framed_and_plain_records_are_both_read():
    message = Order(order_id="o")
    plain, framed = codec(Order), codec(Order, registry=Registry())
    assert plain.decode(framed.encode(message)) == framed.decode(plain.encode(message)) == message


def test_a_bad_framed_record_says_its_schema_id():
    with pytest.raises(DeserializationError) as caught:
        codec(Order).decode(wire.header(9) + b"\x02x")
    assert caught.value.schema_id == 9


def test_a_registry_that_is_down_fails_the_message_and_the_next_one_is_tried_again():
    registry = Registry()
    framed = codec(Order, registry=registry)
    registry.down = True
    with pytest.raises(RegistryUnavailableError):
        framed.prepare()
    registry.down = False
    framed.prepare()
    assert framed.prepared


def test_the_subject_may_be_told_from_the_schemas_title():
    registry = Registry()
    by_title = JsonCodec(Order, subject=lambda title: f"orders-{title}", registry=registry)
    by_title.prepare()
    assert registry.registered[0][0] == by_title.subject == "orders-Order"


class Login(BaseModel):
    password: SecretStr


class Signup(BaseModel):
    logins: dict[str, list[Login]]


def test_a_secret_that_json_would_mask_is_an_error_without_the_secret():
    message = Signup(logins={"web": [Login(password=SecretStr("hunter2"))]})
    with pytest.raises(SerializationError, match=r"Signup\.logins\.web\[0\]\.password") as raised:
        codec(Signup).encode(message)
    assert "hunter2" not in str(raised.value)


def test_a_secret_is_written_where_its_serializer_gives_the_value():
    class Open(Login):
        note: str = "**********"

        @field_serializer("password", when_used="json")
        def shown(self, value: SecretStr) -> str:
            return value.get_secret_value()

    message = Open(password=SecretStr("hunter2"))
    assert codec(Open).decode(codec(Open).encode(message)) == message


def test_registering_without_a_registry_is_an_error_that_says_the_way_out():
    with pytest.raises(ConfigurationError, match="SCHEMA_REGISTRY_URL"):
        codec(Order).register()


def test_the_schema_may_come_from_a_file(tmp_path):
    path = tmp_path / "order.json"
    path.write_text('{"type": "object"}')
    registry = Registry()
    codec(Order, registry=registry, schema_path=path).prepare()
    assert registry.registered[0][1] == {"type": "object"}


@pytest.mark.parametrize("text", [None, "{", "[]", '{"type": "record"}'])
def test_a_file_without_a_json_schema_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "order.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SchemaValidationError, match=r"order\.json"):
        codec(Order, schema_path=path).schema()
