"""A short name of a configuration's content, to see whether two hosts run the same."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from supervisor.redaction import without_user

if TYPE_CHECKING:
    from supervisor.config.config import SupervisorConfig


def fingerprint(config: SupervisorConfig) -> str:
    """Twelve hexadecimal digits.

    Secrets are left out, as a short one could be guessed from a hash; and the instance id, which
    differs between hosts that run the same file.
    """
    content = config.model_dump(mode="json", exclude={"supervisor": {"instance_id"}})
    text = json.dumps(_without(content, frozenset(config.secrets())), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without(value: Any, secrets: frozenset[str]) -> Any:
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
