"""Encodes and decodes the frames between the supervisor and its workers. Pure.

A frame is a line with one JSON object: the protocol's version, the frame's type, and the fields
of that type. Anything else is an error: both ends are of one installation, so a line that is no
frame means that an end is broken, or that other code writes to the pipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION: Final = 1
"""The protocol's version."""
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
"""The maximum length of a line. A heartbeat of 1,000 partitions has about 1 MB."""

_STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="strings", val_json_bytes="utf8")

MetricSample = tuple[str, dict[str, str], float]
"""Name, labels and value of one sample."""
Family = tuple[str, str, str, list[MetricSample]]
"""Name, type, help and samples of one metric family, as prometheus_client names them."""


class ProtocolError(Exception):
    """The other end wrote bytes that are no frame."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a worker.

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
        """The default group.instance.id (KIP-345): the same after restarts, unique in the group."""
        return f"{self.instance_id}-{self.consumer}-{self.slot}"


@dataclass(frozen=True, slots=True)
class Logging:
    """The logging options of a worker.

    Attributes:
        level: "debug", "info", "warning" or "error".
        format: "json" or "console".
    """

    level: str = "info"
    format: Literal["json", "console"] = "json"


@validated(frozen=True, slots=True, config=_STRICT)
class Start:
    """Tells a worker what to run. It is the first frame, unless the worker has to stop before.

    Attributes:
        identity: The worker.
        consumer: The arguments of ConsumerLoop by name; the user's objects are
            "module:attribute", times are in the form of ISO 8601.
        kafka: Keyword arguments of flowodm.connect. May contain secrets: never shown.
        secrets: Values that must not appear in a log line, including those of other consumers:
            the user's code reads the same environment and files. Not part of a comparison.
        logging: The logging options.
        drain_timeout: Seconds that the worker may drain once its supervisor is lost.
        evict: Ids of dead group members, to be evicted before the worker joins.
        partitions_per_worker: Set for the first worker of a consumer that pins its partitions by
            size: that worker counts them, see `Counted`. If it has no partitions itself, their
            number is not known yet; it consumes once a second Start names its partitions.
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
    """Tells a worker to drain: finish what it has begun, commit, exit."""

    type: Literal["drain"] = "drain"


@validated(frozen=True, slots=True, config=_STRICT)
class Abort:
    """Tells a worker not to wait for handlers: commit what is settled, exit."""

    type: Literal["abort"] = "abort"


@validated(frozen=True, slots=True, config=_STRICT)
class Pause:
    """Tells a worker to fetch nothing and start no handler, and stay in its group."""

    type: Literal["pause"] = "pause"


@validated(frozen=True, slots=True, config=_STRICT)
class Resume:
    """Ends a Pause."""

    type: Literal["resume"] = "resume"


@validated(frozen=True, slots=True, config=_STRICT)
class Dump:
    """Tells a worker to log the stack of every thread, because it seems to hang."""

    type: Literal["dump"] = "dump"


@validated(frozen=True, slots=True, config=_STRICT)
class AskGroup:
    """Tells a worker to ask its group for a new assignment: a member has left it for good."""

    type: Literal["ask_group"] = "ask_group"


@validated(frozen=True, slots=True, config=_STRICT)
class Hello:
    """The worker runs under this pid, and waits for Start."""

    pid: int
    type: Literal["hello"] = "hello"


@validated(frozen=True, slots=True, config=_STRICT)
class WorkerStage:
    """The worker has reached a stage: it imports and joins, consumes, or drains."""

    state: Literal["starting", "running", "draining"]
    type: Literal["state"] = "state"


@validated(frozen=True, slots=True, config=_STRICT)
class Heartbeat:
    """The state of the loop, and its counters since the worker's start.

    Attributes:
        joined: Whether it has an assignment, even an empty one.
        assigned: Topic and number of each assigned partition.
        in_flight: Records in handlers.
        buffered: Records that are fetched and not handled.
        processed: Records settled since the worker's start.
        lag: Records between its positions and the partitions' ends; None if unknown.
        oldest_handler_seconds: How long the oldest running handler has been running.
        metrics: All its metric families, cumulative, as `pack` makes them; None if they are the
            same as in the last heartbeat. It is text, because most of them are replaced by
            the next ones before anything reads them.
        member_id: Its id in the consumer group, once it has one.
        behind: Topic, number and position of each partition that does not advance although it
            has more records, none of which is in flight.
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
    """The number of the topic's partitions; sent once, and whenever it changes."""

    partitions: Annotated[int, Field(ge=1)]
    type: Literal["counted"] = "counted"


@validated(frozen=True, slots=True, config=_STRICT)
class WorkerFailed:
    """The worker is about to exit because of this.

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
"""The frames that the supervisor sends."""
Report = Hello | WorkerStage | Heartbeat | Counted | WorkerFailed | Bye
"""The frames that a worker sends."""
Frame = Command | Report


@validated(frozen=True, slots=True, config=_STRICT)
class _Envelope:
    v: Literal[1]
    frame: Annotated[Frame, Field(discriminator="type")]


_ENVELOPE: TypeAdapter[_Envelope] = TypeAdapter(_Envelope)


def encode(frame: Frame) -> bytes:
    """Encode a frame as one line.

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
    """Decode the frame in one line.

    Raises:
        ProtocolError: The line is no frame of this version. The message does not quote it,
            as it may contain a secret.
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
    """Encode metric families for a heartbeat."""
    return _FAMILIES.dump_json(families).decode()


def unpack(metrics: str) -> list[Family]:
    """Decode the metric families of a heartbeat.

    Raises:
        ProtocolError: The text is something else.
    """
    try:
        return _FAMILIES.validate_json(metrics)
    except ValidationError:
        raise ProtocolError("a heartbeat's metrics are no metric families") from None


class Decoder:
    """Decodes a stream of bytes; it keeps at most one unfinished line."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the bytes that have arrived, and yield the frames that they complete.

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
