"""An authority of our own, and the certificates that it signs for 127.0.0.1."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_certificates(folder: Path, *names: str) -> None:
    """Write ``ca.pem``, and for each name ``{name}.key`` and ``{name}.pem``, signed by it.

    Args:
        folder: An existing directory.
        names: The certificates' common names.
    """

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)

    # Python 3.13 and newer verify strictly, by RFC 5280: an authority says what its key is for,
    # and a certificate names its authority's key.
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca "
        "-addext keyUsage=critical,keyCertSign,cRLSign"
    )
    for name in names:
        openssl(
            f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr "
            f"-subj /CN={name} -addext subjectAltName=IP:127.0.0.1"
        )
        openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
            f"-copy_extensions copy -out {name}.pem"
        )


def lock_key(folder: Path, name: str, password: str) -> None:
    """Encrypt ``{name}.key`` with a password."""
    locked = folder / f"{name}.locked"
    command = ["openssl", "pkcs8", "-topk8", "-in", f"{name}.key", "-out", locked.name]
    subprocess.run(
        [*command, "-passout", f"pass:{password}"], cwd=folder, check=True, capture_output=True
    )
    locked.replace(folder / f"{name}.key")
