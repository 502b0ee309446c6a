"""The page at / for people: one HTML document, made of three files.

It requests only /status and /history of its own origin, and its Content-Security-Policy allows
nothing else. Style and script are allowed by their hashes, so that no other text in the document
can run as a script, and Trusted Types forbid the script to turn text into HTML.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and the Content-Security-Policy that goes with it."""

    body: bytes
    policy: str


@cache
def page() -> Page:
    """Return the page, which is made once."""
    files = resources.files(__name__)
    html, style, script = (
        files.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    body = html.replace("/* page.css */", style, 1).replace("/* page.js */", script, 1)
    policy = (
        "default-src 'none'; connect-src 'self'; img-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}; "
        "require-trusted-types-for 'script'; trusted-types 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(body.encode(), policy)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
