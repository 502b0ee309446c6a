"""Whoever installs this distribution gets nothing that asks more of them than to keep a notice."""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import Requirement

OURS = "flowodm-supervisor"
#: As SPDX writes them. MPL-2.0 asks for the source of its own files where they are changed: it is
#: certifi's, whose certificates are only read.
ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
}
#: What metadata older than PEP 639 says instead.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}


def needed() -> dict[str, metadata.Distribution]:
    """All that a plain installation brings along on this system, by name."""
    found: dict[tuple[str, tuple[str, ...]], metadata.Distribution] = {}
    wanted = [(OURS, ("",))]
    while wanted:
        name, extras = wanted.pop()
        if (name, extras) in found:
            continue
        found[name, extras] = distribution = metadata.distribution(name)
        for requirement in map(Requirement, distribution.requires or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append((requirement.name, ("", *sorted(requirement.extras))))
    return {name: distribution for (name, _), distribution in found.items() if name != OURS}


def licences(distribution: metadata.Distribution) -> set[str]:
    """What it says of itself: an SPDX expression, else a name, else a classifier."""
    said = distribution.metadata
    classified = [
        text.rpartition(" :: ")[2]
        for text in said.get_all("Classifier", [])
        if text.startswith("License ::")
    ]
    text = said.get("License-Expression") or said.get("License") or "".join(classified[:1])
    return {SPDX.get(name, name) for name in re.split(r" (?:AND|OR) ", text)}


def test_every_dependency_has_a_licence_that_is_allowed():
    found = {name: licences(distribution) for name, distribution in needed().items()}

    assert len(found) > 20
    assert {name: said for name, said in found.items() if not said <= ALLOWED} == {}


def test_only_certifi_has_one_that_is_more_than_a_notice():
    assert {name for name, d in needed().items() if "MPL-2.0" in licences(d)} == {"certifi"}
