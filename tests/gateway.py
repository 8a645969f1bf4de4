"""The gateway under test: one data folder, one port, its command line and its front door."""

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from process import ROOT, ask, free_port, kill, spawn, until

BINARY = Path(os.environ.get("TOLLHOUSE_BIN", ROOT / "target/debug/tollhouse")).resolve()
REVISION = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
}
MISSING = "io.tollhouse/missing"


class Refused(Exception):
    """The answer was an error: an HTTP status with its body, or a JSON-RPC error object."""


class Gateway:
    """A claimed data folder; `start` and `kill` may follow each other."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "gateway.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None
        account = ("--username", "admin", "--password-stdin", "-o", "json")
        claim = self.command("setup", *account, stdin="a passphrase of some length")
        self.key: str = json.loads(claim)["api_key"]

    def __enter__(self) -> "Gateway":
        self.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error:
            lines = self.log.read_text(errors="replace").splitlines()
            # Calls that went well are many and tell little.
            telling = [line for line in lines if '"outcome":"ok"' not in line]
            print("the gateway's last words:", *telling[-40:], sep="\n    ")

    def command(self, verb: str, *rest: str, stdin: str = "") -> str:
        """Runs a verb of the command line on this data folder; its standard output."""
        words = [str(BINARY), verb, "--data", str(self.data), *rest]
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise Refused(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> float:
        """Starts the process; the seconds from its start until it is ready."""
        began = time.monotonic()
        listen = self.url.removeprefix("http://")
        words = [BINARY, "start", "--data", self.data, "--listen", listen]
        self.process = process = spawn(words, self.log)
        until(lambda: self.is_ready() or process.poll() is not None, "the gateway is ready")
        if process.poll() is not None:
            raise Refused(f"start ended with {process.returncode}:\n{self.log.read_text()}")
        return time.monotonic() - began

    def kill(self) -> None:
        if self.process:
            kill(self.process)
            self.process = None

    def is_ready(self) -> bool:
        try:
            return ask(f"{self.url}/ready", timeout=5)[0] == 200
        except OSError:
            return False

    def register(
        self,
        name: str,
        url: str = "",
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Registers a server by the command line, as a person would."""
        if url:
            self.command("register", name, "--endpoint", url)
        else:
            pairs = [word for k, v in (env or {}).items() for word in ("--env", f"{k}={v}")]
            self.command("register", name, *pairs, "--", *command)

    def status(self) -> Any:
        return json.loads(self.command("status", "-o", "json"))

    def request(
        self, method: str, params: Mapping[str, Any] | None = None, timeout: float = 60
    ) -> dict[str, Any]:
        """One stateless request at the front door; its result. Raises `Refused` on an error."""
        return request(f"{self.url}/mcp", self.key, method, params or {}, timeout)

    def tools(self) -> dict[str, Any]:
        """All pages of the tools as one answer."""
        answer = self.request("tools/list")
        while "nextCursor" in answer:
            page = self.request("tools/list", {"cursor": answer.pop("nextCursor")})
            answer = {**answer, **page, "tools": answer["tools"] + page["tools"]}
        return answer


def request(
    url: str, key: str, method: str, params: Mapping[str, Any], timeout: float = 60
) -> dict[str, Any]:
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": REVISION,
        "Mcp-Method": method,
        **({"Authorization": f"Bearer {key}"} if key else {}),
        **({"Mcp-Name": params["name"]} if "name" in params else {}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": ENVELOPE}}
    status, text = ask(url, body, headers, timeout)
    if text.startswith(("event:", "data:", "id:", ":")):
        text = [line for line in text.splitlines() if line.startswith("data:")][-1][5:]
    try:
        answer = json.loads(text)
    except ValueError:
        raise Refused(f"HTTP {status}: {text[:400]}") from None
    if status != 200 or "result" not in answer:
        raise Refused(f"HTTP {status}: {json.dumps(answer)}")
    return answer["result"]


def missing(answer: Mapping[str, Any]) -> set[str]:
    """The servers that a list names as missing."""
    return {entry["server"] for entry in answer.get("_meta", {}).get(MISSING, [])}
