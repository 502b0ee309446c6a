"""A hash of a configuration, which shows whether two hosts run the same. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from supervisor.redaction import without_user

if TYPE_CHECKING:
    from supervisor.config.config import SupervisorConfig


def config_hash(config: SupervisorConfig) -> str:
    """Hash a configuration, to twelve hexadecimal digits.

    Secrets are left out, because a short one could be guessed from a hash; so is instance_id,
    which differs between hosts that run the same file.
    """
    content = config.model_dump(mode="json", exclude={"supervisor": {"instance_id"}})
    text = json.dumps(_without(content, frozenset(config.secrets())), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without(value: Any, secrets: frozenset[str]) -> Any:
    """Replace each secret in a value by None."""
    match value:
        case dict():
            return {key: _without(each, secrets) for key, each in value.items()}
        case list():
            return [_without(each, secrets) for each in value]
        case str() if value in secrets:
            return None
        case str():
            return without_user(value)
        case _:
            return value
