"""A headless Chromium that a test can ask: opens a page, evaluates JavaScript in it, takes its picture."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
WHY_NOT = "no chromium (Debian: apt-get install chromium)"
START_SECONDS = 60.0
LARGEST_ANSWER = 2**26


class Page:
    """One open page, spoken to over Chrome's DevTools protocol."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._count = 0
        self._socket: WebSocketClientConnection = self._loop.run_until_complete(self._connect(address))

    async def _connect(self, address: str) -> WebSocketClientConnection:
        return await websocket_connect(address, max_message_size=LARGEST_ANSWER)

    def ask(self, method: str, **parameters: Any) -> Any:  # noqa: ANN401  (JSON)
        """One call of the protocol."""
        return self._loop.run_until_complete(self._ask(method, parameters))

    async def _ask(self, method: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401
        self._count += 1
        await self._socket.write_message(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            text = await self._socket.read_message()
            assert text is not None, "the browser hung up"
            answer = json.loads(text)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        """The value of a JavaScript expression; None where it raises."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60.0) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while self.evaluate(expression) is not True:
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.2)

    def picture(self, path: Path) -> None:
        """What a person would see, as PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self._socket.close()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()


@contextmanager
def opened(link: str, profile: Path) -> Iterator[Page]:
    """``link`` in a browser with a profile of its own."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"),
        *(f"--user-data-dir={profile}", "--remote-debugging-port=0", "--no-first-run", link),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page = Page(_address_of_page(profile / "DevToolsActivePort"))
        try:
            yield page
        finally:
            page.close()
    finally:
        process.terminate()
        process.wait(20)


def _address_of_page(file: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if file.exists() and (text := file.read_text().split()):
            with urllib.request.urlopen(f"http://127.0.0.1:{text[0]}/json", timeout=10) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError(f"chromium did not start in {START_SECONDS} s")
