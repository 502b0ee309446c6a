"""How an option of a loop is declared: once, as a field of Options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from flowodm.consumer.options.signatures import check_function

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E", bound=Enum)
T = TypeVar("T")

REQUIRED: Final[Any] = dataclasses.MISSING
"""The default of an option that has none."""
LONGEST: Final = 366 * 24 * 3600
"""Upper bound of every duration, in seconds: a longer one overflows the system's timers."""
_METADATA_KEY: Final = "option"


class Range:
    """The values that a number may have.

    Args:
        least: The lower bound.
        most: The upper bound, if there is one.
        above: Whether the lower bound itself is excluded.
    """

    __slots__ = ("above", "least", "most")

    def __init__(self, least: float, most: float | None = None, *, above: bool = False) -> None:
        self.least = least
        self.most = most
        self.above = above

    def __contains__(self, value: float) -> bool:
        """Whether it is one of them; NaN never is."""
        high_enough = value > self.least if self.above else value >= self.least
        return high_enough and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        """The range as the end of a sentence with "must be"."""
        low = f"more than {self.least}" if self.above else f"{self.least} or more"
        if self.most is None:
            return low
        return f"{low}, {self.most} at most"


SECONDS: Final = Range(0, LONGEST)
POSITIVE_SECONDS: Final = Range(0, LONGEST, above=True)
SHARE: Final = Range(0, 1)


class Option(NamedTuple):
    """All that is declared of an option besides its name and type.

    Attributes:
        default: Its value where a program gives none; REQUIRED if it has to.
        meaning: What it does, in sentences that end with a full stop.
        default_words: What the default comes to, where its value does not say so.
        async_default: The default of AsyncConsumerLoop; None: the same.
        async_only: Why ConsumerLoop refuses it, and what to do instead; empty if both loops
            take it.
        unit: What its number counts.
        allowed: The numbers that it may be.
        choices: The enumeration of its values, which a program names as strings.
        convert: Makes its value of the argument; it gets the option's name, too.
        called_with: The arguments that the function gets which the option names.
        secret: Whether its value is left out of the options' repr().
    """

    default: Any
    meaning: str
    default_words: str = ""
    async_default: Any = None
    async_only: str = ""
    unit: str = ""
    allowed: Range | None = None
    choices: type[Enum] | None = None
    convert: Callable[[str, Any], Any] | None = None
    called_with: tuple[str, ...] | None = None
    secret: bool = False

    def default_of(self, *, for_async: bool) -> Any:
        """Return the default in one of the two loops; REQUIRED if there is none."""
        if for_async and self.async_default is not None:
            return self.async_default
        return self.default

    def value_of(self, name: str, argument: Any) -> Any:
        """Make the option's value of the argument that a program gives.

        Raises:
            ValueError: The argument is none of the choices.
            TypeError: The argument is of a wrong type.
        """
        if self.choices is not None:
            return choice(self.choices, name, argument)
        return argument if self.convert is None else self.convert(name, argument)

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that the loop could not work with.

        Raises:
            ValueError: The number is out of its range.
            TypeError: The value is no number, and has to be one.
            ConfigurationError: The function is a generator function, or cannot be called with
                what it will get.
        """
        if self.called_with is not None:
            check_function(name, value, self.called_with)
        if self.allowed is None:
            return
        try:
            allowed = value in self.allowed
        except TypeError:
            raise TypeError(f"{name} must be a number, not {value!r}") from None
        if not allowed:
            raise ValueError(f"{name} must be {self.allowed}, not {value}")


def option(default: T, meaning: str, **details: Any) -> T:
    """Declare an option as a field of a dataclass.

    Args:
        default: As in Option.
        meaning: As in Option.
        details: The other attributes of Option.
    """
    declared = Option(default, meaning, **details)
    in_field: dict[str, Any] = {"default": default}
    if isinstance(default, dict):
        in_field = {"default_factory": default.copy}
    field = dataclasses.field(
        **in_field, repr=not declared.secret, metadata={_METADATA_KEY: declared}
    )
    return cast("T", field)  # dataclass() puts the default in its place


def declared_options(kind: type) -> dict[str, Option]:
    """Return the options that a dataclass declares, by name and in their order."""
    return {field.name: field.metadata[_METADATA_KEY] for field in dataclasses.fields(kind)}


def choice(kind: type[E], name: str, value: str | E) -> E:
    """Return the member of an enumeration that an argument names.

    Raises:
        ValueError: There is none; the message lists those that there are.
    """
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{name} must be one of {names}, not {value!r}") from None


def exception_classes(name: str, argument: Any) -> tuple[type[BaseException], ...]:
    """Return an argument that is one exception class or several as a tuple.

    Raises:
        TypeError: Something else is among them.
    """
    classes = tuple(argument) if isinstance(argument, Iterable) else (argument,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise TypeError(f"{name} must hold exception classes, not {cls!r}")
    return classes


def different_numbers(name: str, argument: Iterable[int]) -> tuple[int, ...]:
    """Return numbers as a tuple.

    Raises:
        ValueError: There are none, or one is there twice.
    """
    numbers = tuple(argument)
    if not numbers or len(set(numbers)) != len(numbers):
        raise ValueError(f"{name} must be different numbers, not {numbers}")
    return numbers
