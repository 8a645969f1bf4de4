"""A server of one tool, `say`, that can fall ill on command. Speaks 2026-07-28 only.

`scripted.py http NAME PORT` serves /mcp, and takes its mood by POST /mood {"mood": …}: `well`
answers, `slow` answers late, `hang` stays silent until the mood changes, `garbage` answers nonsense
of changing kinds. `scripted.py stdio NAME` is always well.

Where SCRIPTED_LEDGER names a file, it has two more tools: `look` only reads, `act` does something.
The file gets a line for each call that is carried out, and one for each request while it is ill.
"""

import itertools
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "2026-07-28"
LONGEST_HANG_S = 300
SLOW_S = 0.5
LEDGER = os.environ.get("SCRIPTED_LEDGER", "")
GARBAGE = itertools.cycle(
    [
        b"}{ not JSON",
        b"[]",
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":1,"result":[',
        b"\xff\xfe\x00",
        b'{"jsonrpc":"2.0","id":"never asked","result":{"resultType":"complete","tools":"none"}}',
    ]
)


def note(*words: str) -> None:
    """A line of the ledger, written at once: several processes write to it."""
    if LEDGER:
        with open(LEDGER, "a") as ledger:
            ledger.write(" ".join(words) + "\n")


def result(name: str, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    fresh = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    match method:
        case "server/discover":
            own = {"io.modelcontextprotocol/serverInfo": {"name": name, "version": "1"}}
            known = {"supportedVersions": [REVISION], "capabilities": {"tools": {}}}
            return {**fresh, **known, "_meta": own}
        case "tools/list":
            text = {"type": "object", "properties": {"text": {"type": "string"}}}
            tools: list[dict[str, Any]] = [{"name": "say", "inputSchema": text}]
            if LEDGER:
                reads = {"readOnlyHint": True}
                tools.append({"name": "look", "inputSchema": text, "annotations": reads})
                tools.append({"name": "act", "inputSchema": text})
            return {**fresh, "tools": tools}
        case "tools/call":
            note("ran", name, params["name"], str(params.get("arguments", {}).get("text")))
            said = f"{name} says {params.get('arguments', {}).get('text')}"
            return {"resultType": "complete", "content": [{"type": "text", "text": said}]}
    return None


def answer(name: str, request: dict[str, Any]) -> dict[str, Any]:
    found = result(name, request["method"], request.get("params", {}))
    frame = {"jsonrpc": "2.0", "id": request.get("id")}
    if found is None:
        return {**frame, "error": {"code": -32601, "message": "no such method"}}
    return {**frame, "result": found}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise each answer waits 40 ms between its headers and its body.
    disable_nagle_algorithm = True
    name = ""
    mood = "well"
    changed = threading.Condition()

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/mood":
            with self.changed:
                Handler.mood = body["mood"]
                self.changed.notify_all()
            self.reply(200, b"{}")
            return
        if self.mood != "well":
            note("ill", self.name, self.mood, body["method"])
        if self.mood == "slow":
            with self.changed:
                self.changed.wait_for(lambda: self.mood != "slow", SLOW_S)
        if self.mood == "hang":
            with self.changed:
                self.changed.wait_for(lambda: self.mood != "hang", LONGEST_HANG_S)
            self.close_connection = True
        elif self.mood == "garbage":
            self.reply(200, next(GARBAGE))
        elif "id" not in body:
            self.reply(202, b"")
        else:
            found = answer(self.name, body)
            self.reply(200 if "result" in found else 404, json.dumps(found).encode())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(transport: str, name: str, port: str = "0") -> None:
    if transport == "http":
        Handler.name = name
        ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            print(json.dumps(answer(name, request)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
