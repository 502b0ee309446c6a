"""The frames between the supervisor and its workers: one JSON object a line.

A line carries the protocol's version and the frame's type, and nothing but what that type
has. Anything else is an error, not something to skip: both ends are of one installation, so
a frame that cannot be read means that an end is broken or that somebody else writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
"""The longest line, in bytes. A heartbeat of 1,000 partitions has about 1 MB."""

_STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="strings", val_json_bytes="utf8")

MetricSample = tuple[str, dict[str, str], float]
"""Name, labels and value of one sample."""
Family = tuple[str, str, str, list[MetricSample]]
"""Name, type, help and samples of one metric family, as prometheus_client names them."""


class ProtocolError(Exception):
    """The other end wrote something that is no frame."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which worker this is.

    Attributes:
        instance_id: The supervisor's stable name.
        consumer: The consumer's name in the configuration.
        slot: The slot's number within the consumer, from 0.
    """

    instance_id: str
    consumer: str
    slot: int

    @property
    def member(self) -> str:
        """The default group.instance.id (KIP-345): stable over restarts, unique in the group."""
        return f"{self.instance_id}-{self.consumer}-{self.slot}"


@dataclass(frozen=True, slots=True)
class Logging:
    """How a worker logs.

    Attributes:
        level: "debug", "info", "warning" or "error".
        format: "json" or "console".
    """

    level: str = "info"
    format: Literal["json", "console"] = "json"


@validated(frozen=True, slots=True, config=_STRICT)
class Start:
    """What to run. The first frame that a worker gets, unless it is told to end before.

    Attributes:
        identity: Which worker this is.
        consumer: The consumer's options under the names of ConsumerLoop's arguments; objects
            of the user's are "module:attribute", times are text in the form of ISO 8601.
        kafka: Keyword arguments of flowodm.connect. May hold secrets: never shown.
        secrets: Values that must not appear in a log line, other consumers' too: the user's code
            reads the same environment and files. What differs only here is the same to run.
        logging: How to log.
        drain_timeout: Seconds that the worker may take to end once its supervisor is gone.
        evict: Ids of group members whose processes are dead, to be evicted before it joins.
        partitions_per_worker: Set for the first worker of a consumer that pins its partitions by
            size: it tells how many there are, see `Counted`. If it has none itself, nobody knows
            yet; it consumes when a second Start says which are its own.
    """

    identity: Identity
    consumer: dict[str, Any]
    kafka: dict[str, Any] = field(repr=False)
    secrets: list[str] = field(repr=False, compare=False)
    logging: Logging
    drain_timeout: float
    evict: list[str] = field(default_factory=list)
    partitions_per_worker: int | None = None
    type: Literal["start"] = "start"


@validated(frozen=True, slots=True, config=_STRICT)
class Drain:
    """Begin nothing new, finish what was begun, commit, end."""

    type: Literal["drain"] = "drain"


@validated(frozen=True, slots=True, config=_STRICT)
class Abort:
    """Do not wait for handlers any more: commit what is settled, end."""

    type: Literal["abort"] = "abort"


@validated(frozen=True, slots=True, config=_STRICT)
class Pause:
    """Fetch nothing and start no handler, but stay."""

    type: Literal["pause"] = "pause"


@validated(frozen=True, slots=True, config=_STRICT)
class Resume:
    """Go on after Pause."""

    type: Literal["resume"] = "resume"


@validated(frozen=True, slots=True, config=_STRICT)
class Dump:
    """Write the stack of every thread to the log: the worker seems to hang."""

    type: Literal["dump"] = "dump"


@validated(frozen=True, slots=True, config=_STRICT)
class AskGroup:
    """Ask the group at once for what has changed: another member is gone for good."""

    type: Literal["ask_group"] = "ask_group"


@validated(frozen=True, slots=True, config=_STRICT)
class Hello:
    """The worker runs, under this pid, and waits for Start."""

    pid: int
    type: Literal["hello"] = "hello"


@validated(frozen=True, slots=True, config=_STRICT)
class Stage:
    """The worker reached a stage: it imports and joins, it consumes, it drains."""

    state: Literal["starting", "running", "draining"]
    type: Literal["state"] = "state"


@validated(frozen=True, slots=True, config=_STRICT)
class Heartbeat:
    """Where the loop stands, and its counters since the worker's start.

    Attributes:
        joined: Whether it received an assignment, even an empty one.
        assigned: Topic and number of each partition it holds.
        in_flight: Records in handlers.
        buffered: Records fetched and waiting.
        processed: Records settled since the worker's start.
        lag: Records between its positions and the partitions' ends; None if unknown.
        oldest_handler_seconds: How long the oldest running handler has been running.
        metrics: All its metric families, cumulative, as `pack` makes them; None if they are as
            in the last heartbeat, which is what an idle worker says. A text, because most of
            them are replaced by the next ones before anybody reads them.
        member_id: Its id in the consumer group, once it has one.
        behind: Topic, number and position of each partition that stands still although there is
            more to handle, and nothing of it is in hand.
    """

    joined: bool
    assigned: list[tuple[str, int]]
    in_flight: int
    buffered: int
    processed: int
    lag: int | None
    oldest_handler_seconds: float
    metrics: str | None = field(repr=False)
    member_id: str | None = None
    behind: list[tuple[str, int, int]] = field(default_factory=list)
    type: Literal["heartbeat"] = "heartbeat"


@validated(frozen=True, slots=True, config=_STRICT)
class Counted:
    """How many partitions the consumer's topic has: at first, and whenever that changes."""

    partitions: Annotated[int, Field(ge=1)]
    type: Literal["counted"] = "counted"


@validated(frozen=True, slots=True, config=_STRICT)
class WorkerFailed:
    """The worker is about to end because of this.

    Attributes:
        kind: The class of the failure, a value of `supervisor.slot.restart.ExitClass`.
        message: What went wrong, where, and what to do about it.
    """

    kind: str
    message: str
    type: Literal["failed"] = "failed"


@validated(frozen=True, slots=True, config=_STRICT)
class Bye:
    """The worker's last frame: it exits with this code."""

    code: int
    type: Literal["bye"] = "bye"


Command = Start | Drain | Abort | Pause | Resume | Dump | AskGroup
"""What a worker is told."""
Report = Hello | Stage | Heartbeat | Counted | WorkerFailed | Bye
"""What a worker tells."""
Frame = Command | Report


@validated(frozen=True, slots=True, config=_STRICT)
class _Envelope:
    v: Literal[1]
    frame: Annotated[Frame, Field(discriminator="type")]


_ENVELOPE: TypeAdapter[_Envelope] = TypeAdapter(_Envelope)


def encode(frame: Frame) -> bytes:
    """The frame as one line.

    Raises:
        ProtocolError: The line would be longer than `MAX_FRAME_BYTES`.
    """
    line = _ENVELOPE.dump_json(_Envelope(VERSION, frame)) + b"\n"
    if len(line) > MAX_FRAME_BYTES:
        raise ProtocolError(
            f"a {frame.type} frame of {len(line)} bytes is longer than {MAX_FRAME_BYTES}"
        )
    return line


def decode(line: bytes) -> Frame:
    """The frame in one line.

    Raises:
        ProtocolError: The line is no frame of this version. The message does not quote it,
            as it may hold a secret.
    """
    try:
        return _ENVELOPE.validate_json(line).frame
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'line'}: {problem['type']}"
            for problem in error.errors(include_url=False, include_input=False)[:3]
        )
        raise ProtocolError(f"not a frame of protocol version {VERSION}: {problems}") from None


_FAMILIES: TypeAdapter[list[Family]] = TypeAdapter(list[Family], config=_STRICT)


def pack(families: list[Family]) -> str:
    """Metric families as a heartbeat carries them."""
    return _FAMILIES.dump_json(families).decode()


def unpack(metrics: str) -> list[Family]:
    """The metric families of a heartbeat.

    Raises:
        ProtocolError: The text is something else.
    """
    try:
        return _FAMILIES.validate_json(metrics)
    except ValidationError:
        raise ProtocolError("a heartbeat's metrics are no metric families") from None


class Decoder:
    """Cuts a byte stream into frames, holding at most one unfinished line."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes as they came and yield the frames that they complete.

        Raises:
            ProtocolError: A line is no frame, or too long.
        """
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            yield decode(line)
        if len(self._rest) > MAX_FRAME_BYTES:
            raise ProtocolError(f"a line is longer than {MAX_FRAME_BYTES} bytes")
