"""Child processes, free ports, plain HTTP, and waiting for a condition instead of for a time."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "target/tools"
NODE = TOOLS / "node/node_modules"
# The official conformance suite.
SUITE = (NODE / ".bin/node", NODE / "@modelcontextprotocol/conformance/dist/index.js")


def until(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """The first true answer of the condition; raises when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(
    url: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 60
) -> tuple[int, str]:
    """One request over a connection of its own; POST when there is a body. Status and text."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if body is None:
            connection.request("GET", path, headers=dict(headers or {}))
        else:
            kind = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), {**kind, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def spawn(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a process in a group of its own, with its output in the log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process at once and reaps it; what it started is not touched."""
    process.send_signal(signal.SIGKILL)
    process.wait()


@contextmanager
def running(
    command: Sequence[str | Path], port: int, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that accepts connections on the port, killed at the end."""
    process = spawn(command, log, env)
    try:
        until(lambda: accepts(port) or process.poll() is not None, f"{command} accepts")
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended at once:\n{log.read_text()}")
        yield process
    finally:
        kill(process)
