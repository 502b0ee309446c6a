"""Hold the results of the checks in this package. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ValidationResult:
    """Whether a model and a schema fit each other.

    Attributes:
        is_valid: Whether messages of the model can be written with the schema, and records of the
            schema read as the model.
        errors: Why they do not fit, one entry for each place.
        warnings: Places that do not fit for every value.
    """

    is_valid: bool
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class CompatibilityResult:
    """Whether a model's schema may follow those of a subject.

    Attributes:
        is_compatible: Whether it may.
        message: The result in one line; if negative, with the first reason.
        compatibility_level: The level that was checked.
        reasons: Every reason why it may not: the version, the direction and the place.
    """

    is_compatible: bool
    message: str = ""
    compatibility_level: str = ""
    reasons: list[str] = field(default_factory=list)
