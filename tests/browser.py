"""A page in a headless Chromium, asked over its DevTools protocol what it looks like and what went wrong."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0 about:blank"
)
SECONDS = 60
COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")


@dataclass
class Page:
    """How wide the content of a page is, in CSS pixels, which addresses it asked for, and what it complained of."""

    content_width: int
    asked_for: list[str]
    complaints: list[dict[str, Any]]


@dataclass
class Browser:
    """A tab of a running Chromium."""

    socket: ClientConnection
    events: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0

    def open(self, path: Path, width: int, dark: bool = False) -> Page:
        """The page at ``path`` when it is loaded, its folded parts opened."""
        self.events.clear()
        for domain in ("Page", "Log", "Runtime", "Network"):
            self._call(f"{domain}.enable")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()
        self.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        content_width = self.evaluate("document.documentElement.scrollWidth")
        asked_for = [event["params"]["request"]["url"] for event in self._of("Network.requestWillBeSent")]
        return Page(content_width, asked_for, self._of(*COMPLAINTS))

    def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression is on the open page."""
        return self._call("Runtime.evaluate", expression=expression)["result"].get("value")

    def until(self, expression: str) -> Any:
        """What an expression is as soon as it is true."""
        began = time.monotonic()
        while not (found := self.evaluate(expression)):
            assert time.monotonic() - began < SECONDS, f"never true: {expression}"
            time.sleep(0.05)
        return found

    def picture(self) -> bytes:
        """The whole open page as PNG, for people to look at."""
        return base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _of(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["method"] in methods]

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while True:
            answer = self._receive()
            if answer.get("id") == self.calls:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        """The next message; an event is kept."""
        message = json.loads(self.socket.recv(timeout=SECONDS))
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A Chromium with its profile in an empty folder; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    arguments = [CHROMIUM, f"--user-data-dir={profile}", *QUIET.split()]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_tab(profile, process), max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(SECONDS)


def _tab(profile: Path, process: subprocess.Popen) -> str:
    """The address of the tab's socket, once Chromium has written where it listens."""
    port, began = profile / "DevToolsActivePort", time.monotonic()
    while not port.exists() or not port.read_text():
        assert process.poll() is None and time.monotonic() - began < SECONDS, "Chromium does not start"
        time.sleep(0.05)
    address = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:
        return next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
