"""A headless Chromium, driven over the WebDriver protocol (W3C) by the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from support.programs import missing
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Chrome first: where there are both, the driver is Chrome's.
CHROMIUM = shutil.which("google-chrome") or shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
MISSING = missing("chromedriver", *(() if CHROMIUM else ("chromium",)))
PATIENCE = 20.0
_FLAGS = (
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One session of a running chromedriver."""

    def __init__(self, port: int, profile: str) -> None:
        self._port = port
        options = {"binary": CHROMIUM, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE * 2)
        with contextlib.closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        assert answer.status == 200, value
        return value

    def open(self, url: str) -> None:
        self._call("POST", f"{self._session}/url", {"url": "about:blank"})
        self.complaints()  # of the page before
        self._call("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """What a function body returns."""
        body = {"script": script, "args": arguments}
        return self._call("POST", f"{self._session}/execute/sync", body)

    def text(self, selector: str = "main") -> str:
        """What a person reads there; nothing where there is no such element."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        text: str = self.run(script, selector)
        return text

    def until(self, script: str, what: str) -> Any:
        return wait_until(lambda: self.run(script), PATIENCE, what)

    def devtools(self, command: str, **parameters: object) -> Any:
        body = {"cmd": command, "params": parameters}
        return self._call("POST", f"{self._session}/goog/cdp/execute", body)

    def look_like(self, *, width: int, scheme: str = "light") -> None:
        """Take a width in CSS pixels and what a person prefers."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        preferred = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=preferred)

    def complaints(self) -> list[str]:
        """What it wrote to its console since the last time, as a breach of the page's policy."""
        logged = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in logged]

    def screenshot(self, path: Path) -> None:
        """The whole page, beyond what fits on the screen too."""
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def quit(self) -> None:
        self._call("DELETE", self._session)


# Driver and browser are one process group, which ends with the pipe to whoever started it: also
# when that was killed.
_LEASH = '"$0" --port=0 & read -r _; kill -KILL 0'


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium with an empty profile, gone with all its processes afterwards."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        subprocess.Popen(
            ["sh", "-c", _LEASH, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        ) as driver,
    ):
        assert driver.stdin is not None
        assert driver.stdout is not None
        try:
            ports = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
            port = next(int(port[1]) for port in ports if port)
            session = Browser(port, profile)
            try:
                yield session
            finally:
                session.quit()
        finally:
            driver.stdin.close()
            driver.wait(PATIENCE)
