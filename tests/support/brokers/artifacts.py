"""The jars that the brokers run on: fetched once by Maven, kept in the test cache.

Any number of test processes may ask at the same time. One of them downloads, into a temporary
folder beside the final one; a rename makes it visible, so a half-filled folder is never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POM = Path(__file__).with_name("pom.xml")
REGISTRY_VERSION = "2.6.13.Final"
REGISTRY_ARTIFACT = f"io.apicurio:apicurio-registry-app:{REGISTRY_VERSION}:tar.gz:all"
# Generous: 142 MB for the registry, on a slow line.
DOWNLOAD_TIMEOUT = 900.0


class ArtifactsUnavailableError(Exception):
    """This machine can neither run nor fetch the brokers: no Java, no Maven, or no network."""


def cache_root() -> Path:
    """``FLOWODM_TEST_CACHE``, or ``.cache`` at the root of the repository."""
    configured = os.environ.get("FLOWODM_TEST_CACHE")
    root = Path(configured) if configured else ROOT / ".cache"
    root.mkdir(parents=True, exist_ok=True)
    return root.resolve()


def java() -> str:
    """The path of ``java``, or ArtifactsUnavailableError."""
    return _tool("java", "apt-get install default-jre-headless, or another JRE of 17 or newer")


def kafka_libraries() -> Path:
    """The folder of Kafka's jars, downloaded first where it is not there yet."""

    def fetch(folder: Path) -> None:
        _maven("dependency:copy-dependencies", f"-DoutputDirectory={folder}")

    # Named after the pom's content: another version is another folder.
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    return _fetched_once(f"kafka-{digest}", fetch)


def registry_application() -> Path:
    """The folder that the registry's archive unpacks to, downloaded first if need be."""

    def fetch(folder: Path) -> None:
        _maven("dependency:copy", f"-Dartifact={REGISTRY_ARTIFACT}", f"-DoutputDirectory={folder}")
        (archive,) = folder.glob("*.tar.gz")
        shutil.unpack_archive(archive, folder, filter="data")
        archive.unlink()

    return _fetched_once(f"registry-{REGISTRY_VERSION}", fetch)


def _fetched_once(name: str, fetch: Callable[[Path], None]) -> Path:
    final = cache_root() / name
    if final.is_dir():
        return final
    java()  # without Java there is no use for the download
    with _locked(cache_root() / f"{name}.lock"):
        if not final.is_dir():  # the lock's last holder may have been quicker
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=cache_root()) as scratch:
                download = Path(scratch, "download")
                download.mkdir()
                fetch(download)
                download.rename(final)
    return final


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    # flock and not a lock file's existence: the kernel releases it when its holder is killed.
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _maven(*goal: str) -> None:
    command = [_tool("mvn", "apt-get install maven"), "-q", "-B", "-f", str(POM), *goal]
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DOWNLOAD_TIMEOUT,
        )
    except subprocess.CalledProcessError as error:
        said = error.stdout.decode(errors="replace")[-2000:]
        raise ArtifactsUnavailableError(f"Maven could not fetch {goal[0]}:\n{said}") from error
    except subprocess.TimeoutExpired as error:
        raise ArtifactsUnavailableError(
            f"Maven did not finish {goal[0]} in {DOWNLOAD_TIMEOUT:g} s"
        ) from error


def _tool(name: str, way_out: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ArtifactsUnavailableError(f"no {name}; {way_out}")
    return path
