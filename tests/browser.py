"""Chromium without a window, driven over a pipe by its DevTools protocol."""

import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from process import kill, until

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SWITCHES = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
)
# Chromium reads commands from descriptor 3 and writes answers to 4.
PIPES = 'exec "$0" "$@" 3<&"$COMMANDS" 4>&"$ANSWERS"'
ANSWER_S = 30


class Browser:
    """One browser with one page and no past."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.log = folder / "chromium.log"
        self.profile = folder / "profile"
        self.number = 0
        self.kept = b""
        self.session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        reads, self.commands = os.pipe()
        self.answers, writes = os.pipe()
        # Away from the numbers that they are to have in the end.
        given = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (reads, writes)]
        # Chromium has no sandbox for the superuser, and refuses to start.
        sandbox = () if os.geteuid() else ("--no-sandbox",)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", PIPES, CHROMIUM, *SWITCHES, *sandbox, f"--user-data-dir={self.profile}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "COMMANDS": str(given[0]), "ANSWERS": str(given[1])},
                pass_fds=given,
                start_new_session=True,
            )
        for end in (reads, writes, *given):
            os.close(end)
        page = self.command("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.command("Target.attachToTarget", {"targetId": page, "flatten": True})
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Asked, it takes its children along.
        self.session = {}
        with suppress(RuntimeError, OSError, subprocess.TimeoutExpired):
            self.command("Browser.close")
            self.process.wait(ANSWER_S)
        kill(self.process)
        os.close(self.commands)
        os.close(self.answers)

    def command(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}, **self.session}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") != self.number:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def read(self) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWER_S
        while b"\0" not in self.kept:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.answers, 1 << 16) if ready else b""
            if not piece:
                raise RuntimeError(f"Chromium says nothing:\n{self.log.read_text()[-2000:]}")
            self.kept += piece
        message, _, self.kept = self.kept.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        self.command("Page.navigate", {"url": url})

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page as it is; none while there is no page."""
        said = self.command("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        return said["result"].get("value")

    def text(self) -> str:
        return self.evaluate("document.body ? document.body.innerText : ''") or ""

    def has(self, selector: str) -> bool:
        return bool(self.evaluate(f"document.querySelector({json.dumps(selector)}) !== null"))

    def await_text(self, text: str) -> None:
        try:
            until(lambda: text in self.text(), f"the page says {text!r}")
        except TimeoutError as error:
            where = self.evaluate("location.href")
            raise TimeoutError(f"{error}; it is {where} and says {self.text()!r}") from None

    def type(self, selector: str, text: str) -> None:
        until(lambda: self.has(selector), f"there is {selector}")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.command("Input.insertText", {"text": text})

    def click(self, selector: str) -> None:
        until(lambda: self.has(selector), f"there is {selector}")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
