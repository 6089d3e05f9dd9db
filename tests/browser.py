"""Headless Chromium, driven over its DevTools protocol through a pair of pipes.

Chromium reads commands from file descriptor 3 and answers on 4, each message ended by a zero byte
(``--remote-debugging-pipe``), so neither a port nor a WebSocket is needed.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import time
from contextlib import contextmanager

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe", "--disable-sync", "--no-zygote"),
    *("--disable-default-apps", "--disable-features=OptimizationHints,Translate,MediaRouter"),
)
_PATIENCE = 180  # seconds; what takes longer, also on a busy machine, never comes


class Tab:
    """One page: sends commands, and keeps every event that the browser reports of it."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._number, self._rest, self._session = 0, b"", None
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def run(self, script):
        """Return what a JavaScript expression, or the promise it gives, comes to."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def settle(self, condition, seconds=5):
        """Wait until a JavaScript condition holds; figures are drawn anew after a while."""
        deadline = time.monotonic() + seconds
        while not self.run(condition) and time.monotonic() < deadline:
            time.sleep(0.05)

    def open(self, address=None):
        """Load a page, or this one again, and wait until its script has run."""
        before = self._loads()
        if address is None:
            self.send("Page.reload")
        else:
            self.send("Page.navigate", url=address)
        while self._loads() == before:
            self._read()

    def press(self, key):
        """Press a key: ``"Tab"`` or ``"Enter"``."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        known = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        down = "keyDown" if text else "rawKeyDown"
        self.send("Input.dispatchKeyEvent", type=down, text=text, **known)

    def resize(self, width, height):
        """Give the page a window of so many CSS pixels."""
        size = {"width": width, "height": height}
        self.send("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme):
        """Make the reader's system ``"light"`` or ``"dark"``."""
        wish = [{"name": "prefers-color-scheme", "value": scheme}]
        wish.append({"name": "prefers-reduced-motion", "value": "reduce"})
        self.send("Emulation.setEmulatedMedia", features=wish)

    def _loads(self):
        return sum(event["method"] == "Page.loadEventFired" for event in self.events)

    def _read(self):
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self._from, 1 << 20) if ready else b""
            assert chunk, "the browser went silent"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        answer = json.loads(message)
        if "method" in answer:
            self.events.append(answer)
        return answer


@contextmanager
def browser(profile):
    """Start Chromium with ``profile``, an empty folder, give one tab of it, and end it."""
    ours, theirs = os.pipe(), os.pipe()
    # Above 4, so that putting them at 3 and 4 overwrites neither.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs[0], ours[1])]
    os.close(theirs[0]), os.close(ours[1])
    silence = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, silence, stream) for stream in (0, 1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, end, place) for end, place in zip(ends, (3, 4), strict=True)]
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
    pid = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=actions, setpgroup=0)
    for end in (*ends, silence):
        os.close(end)
    try:
        yield Tab(theirs[1], ours[0])
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(theirs[1]), os.close(ours[0])
