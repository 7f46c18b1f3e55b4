"""A headless Chromium, driven over the Chrome DevTools protocol with this library's own client."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from gevent.subprocess import DEVNULL, Popen

from geventws import WebSocket, connect

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Browser:
    """A browser process with a profile of its own; a context manager that ends it."""

    def __init__(self) -> None:
        assert EXECUTABLE is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        arguments = [EXECUTABLE, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = Popen(arguments, stdin=DEVNULL, stdout=DEVNULL, stderr=subprocess.PIPE)
        self._numbers = count(1)
        self._devtools: WebSocket | None = None

    def __enter__(self) -> Browser:
        try:
            # No size limit: a screenshot is one message.
            self._devtools = connect(self._address(), max_size=None, proxy=None)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._devtools is not None:
            self._devtools.terminate()
        self._process.kill()
        self._process.wait()
        self._process.stderr.close()
        self._profile.cleanup()

    def _address(self) -> str:
        """Wait until the browser says where it listens."""
        for line in self._process.stderr:
            _, found, address = line.decode(errors="replace").partition("DevTools listening on ")
            if found:
                return address.strip()
        raise AssertionError("the browser ended before it listened")

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Run a command of the DevTools protocol; events that come meanwhile are skipped."""
        assert self._devtools is not None
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters}
        self._devtools.send_json(command if session is None else {**command, "sessionId": session})
        while True:
            answer = self._devtools.recv_json(timeout=20)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str, width: int = 1280, height: int = 860) -> Tab:
        size = {"width": width, "height": height}
        target = self.call("Target.createTarget", url="about:blank", newWindow=True, **size)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self, session["sessionId"])
        tab.call("Page.navigate", url=url)
        return tab


class Tab:
    """A page in a window of its own, so that the browser does not hold back its timers."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """Wait until a JavaScript expression is true; returns its value."""
        return self.evaluate(
            f"new Promise((resolve) => {{ const look = () => {{ let found = null;"
            f" try {{ found = {condition}; }} catch {{}}"
            " if (found) resolve(found); else setTimeout(look, 20); }; look(); })"
        )

    def type_into(self, selector: str, text: str) -> None:
        """Put the focus on an element, replace what it holds, and press Enter."""
        self.evaluate(
            f"{{ const found = document.querySelector({json.dumps(selector)}); found.focus(); found.select(); }}"
        )
        self.call("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **enter)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
